"""Drives a worker from step to step within a budget, and writes down what it gives."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.gpu.record import DONE, FAILED, Record
from benchmarks.gpu.worker import Options, Worker
from benchmarks.machine import ROOT
from benchmarks.results import RESULTS

# Until a worker has imported everything and found its device.
START = 180.0
# A step that takes this many times its guess, or so many seconds, hangs.
PATIENCE, LEAST_PATIENCE = 4, 180.0
GREEN, RED, UNFINISHED = 0, 1, 3

console = Console(highlight=False, soft_wrap=True)


@dataclass
class Plan:
    """What is to be done.

    Attributes:
        parts: of these parts or steps; empty is all.
        again: also what is done already.
        budget: seconds from now on.
    """

    options: Options
    name: str = ""
    output: Path | None = None
    parts: Sequence[str] = ()
    again: bool = False
    budget: float = 540.0


def drive(plan: Plan) -> tuple[Path, int]:
    """Everything that is left and fits; the folder, and GREEN, RED or UNFINISHED.

    Raises:
        RuntimeError: the device or its environment is not as expected.
        ValueError: the folder holds other numbers, or a part that nobody knows is asked for.
    """
    end = time.monotonic() + plan.budget
    worker, context, known = _start(plan.options)
    try:
        folder = plan.output or _folder(plan, context)
        record = Record(folder)
        record.refuse_others(context)
        asked, todo = _todo(plan, known, record)
        total = len(todo)
        console.print(f"{context['device']}, torch {context['versions']['torch']}; {total} steps to do, in {folder}")
        while todo:
            left = end - time.monotonic()
            fitting = [name for name in todo if known[name] <= left]
            if not fitting:
                break
            name = fitting[0]
            todo.remove(name)
            outcome = _one(worker, name, known[name], left)
            if outcome is None:
                console.print(f"{name}: cut off, the budget is spent")
                break
            record.add(context, name, outcome)
            if not any(_within(other, name.partition("/")[0]) for other in todo):
                _page(folder)
            work = sum(known[other] for other in todo)
            said = f"{outcome['status']} in {outcome['took']:.1f} s" + (
                f": {outcome['error']}" if outcome["error"] else ""
            )
            console.print(
                f"[{total - len(todo)}/{total}] {name}: {said}; about {work:.0f} s of work left,"
                f" {end - time.monotonic():.0f} s of budget",
                markup=False,
            )
            if outcome["lost"] and todo:
                worker.end()
                worker, _, _ = _start(plan.options)
    finally:
        worker.end()
    _page(folder)
    return folder, _verdict(record, asked)


def _page(folder: Path) -> None:
    """Whatever goes wrong with the page, the numbers are there and `report` makes it again."""
    from benchmarks.report.page import write  # Loads matplotlib.

    try:
        write(folder)
    except Exception as error:
        console.print(f"page: {type(error).__name__}: {error}", markup=False)


def _start(options: Options) -> tuple[Worker, dict[str, Any], dict[str, float]]:
    worker = Worker(options)
    try:
        said = worker.hear(START)
    except EOFError:
        said = {"refused": f"the worker ended with code {worker.process.exitcode} before it began"}
    if said is None or "refused" in said:
        worker.end()
        raise RuntimeError(said["refused"] if said else f"the worker said nothing for {START:.0f} s")
    return worker, said["context"], dict(said["steps"])


def _folder(plan: Plan, context: dict[str, Any]) -> Path:
    if plan.options.rehearse:
        return ROOT / "build" / "gpu-rehearsal"
    name = re.sub(r"\W+", "-", plan.name or context["device"]).strip("-").lower()
    return RESULTS / f"gpu-{name}"


def _todo(plan: Plan, known: dict[str, float], record: Record) -> tuple[list[str], list[str]]:
    """The steps asked for, and those of them that are left: what was never done before what failed."""
    parts = dict.fromkeys(name.partition("/")[0] for name in known)
    for part in plan.parts:
        if not any(_within(name, part) for name in known):
            raise ValueError(f"--part: got {part}, expected one of {', '.join({**parts, **known})}")
    asked = [name for name in known if not plan.parts or any(_within(name, part) for part in plan.parts)]
    if plan.again:
        return asked, list(asked)
    status = record.status()
    return asked, [n for n in asked if n not in status] + [n for n in asked if status.get(n) == FAILED]


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}/")


def _one(worker: Worker, name: str, seconds: float, left: float) -> dict[str, Any] | None:
    """None where the budget, and not the step, is what ended."""
    patience = max(PATIENCE * seconds, LEAST_PATIENCE)
    start = time.monotonic()
    try:
        worker.pipe.send(name)
        outcome: dict[str, Any] | None = worker.hear(min(patience, left))
        error = f"expected an end within {patience:.0f} s"
    except (EOFError, BrokenPipeError):
        worker.process.join(10)
        outcome, error = None, f"its process ended with code {worker.process.exitcode}"
        left = float("inf")
    if outcome is None and left > patience:
        took = time.monotonic() - start
        return {"rows": [], "status": FAILED, "error": error, "took": took, "lost": True}
    return outcome


def _verdict(record: Record, asked: list[str]) -> int:
    status = record.status()
    tested = any(_within(name, "tests") for name in asked)
    if FAILED in [status.get(name) for name in asked] or (tested and record.tests().startswith("red")):
        return RED
    return GREEN if all(status.get(name) == DONE for name in asked) else UNFINISHED
