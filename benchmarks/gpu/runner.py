"""Goes from step to step within a budget, and writes down what each gives."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.gpu.plan import Plan, siblings, within
from benchmarks.gpu.record import FAILED, FILE, Record, alone
from benchmarks.gpu.steady import Steady

GREEN, RED, UNFINISHED = 0, 1, 3

console = Console(highlight=False, soft_wrap=True)


def drive(plan: Plan) -> tuple[Path, int, str]:
    """Everything that is left and fits; the folder, GREEN, RED or UNFINISHED, and the same in words.

    Raises:
        RuntimeError: the device or its environment is not as expected, or another run works into the folder.
        ValueError: the folder holds other numbers, or a part that nobody knows is asked for.
    """
    end = time.monotonic() + plan.budget
    worker = Steady(plan.options)
    try:
        folder = plan.folder(worker.context)
        asked = plan.asked(list(worker.known))
        with alone(folder):
            record = Record(folder)
            record.refuse_others(worker.context)
            todo = plan.left(asked, record)
            torch = worker.context["versions"]["torch"]
            _say(f"{worker.context['device']}, torch {torch}: {len(todo)} steps, in {folder}")
            try:
                _work(worker, plan, record, todo, end)
            finally:
                worker.end()
                _page(folder)
    finally:
        worker.end()
    return folder, *_verdict(record, asked)


def _work(worker: Steady, plan: Plan, record: Record, todo: list[str], end: float) -> None:
    """Takes from `todo` whatever fits into the time until `end`."""
    total = len(todo)
    while fitting := [name for name in todo if worker.known[name] <= end - time.monotonic()]:
        name = fitting[0]
        guess = "" if worker.context["rehearsed"] else f": about {worker.known[name]:.0f} s"
        _say(f"[{total - len(todo) + 1}/{total}] {name}{guess}")
        outcome = worker.do(name, end - time.monotonic())
        if outcome is None:
            _say(f"{name}: cut off, the budget is spent")
            return
        todo.remove(name)
        outcome["rows"] = [{"again": plan.command(name), **row} for row in outcome["rows"]]
        record.add(worker.context, name, outcome)
        error = f": {outcome['error']}" if outcome["error"] else ""
        work = "" if worker.context["rehearsed"] else f"about {sum(worker.known[o] for o in todo):.0f} s of work left, "
        _say(f"  {outcome['status']} in {outcome['took']:.1f} s{error}; {work}{end - time.monotonic():.0f} s of budget")
        for other in siblings(name, todo) if outcome.get("hung") else ():
            todo.remove(other)
            _say(f"{other}: left out, as {name} hung")
        if not any(within(other, name.partition("/")[0]) for other in todo):
            _page(record.file.parent)


def _page(folder: Path) -> None:
    """Whatever goes wrong with the page, the numbers are there and `report` makes it again."""
    if not (folder / FILE).exists():
        return
    try:
        from benchmarks.report.page import write  # Loads matplotlib, which may be missing or broken.

        write(folder)
    except Exception as error:
        _say(f"page: {type(error).__name__}: {error}")


def _say(text: str) -> None:
    console.print(text, markup=False)


def _verdict(record: Record, asked: list[str]) -> tuple[int, str]:
    status: dict[str, Any] = record.status()
    failed, left = [sum(status.get(name) == what for name in asked) for what in (FAILED, None)]
    said = [f"{failed} steps failed"] if failed else []
    said += [f"{left} steps are left: run the same command again"] if left else []
    return RED if failed else UNFINISHED if left else GREEN, "; ".join(said) or "everything is done and green"
