"""Tables of accuracy: contenders by task, with what layers saw and what was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.quality.contenders import RANDOM
from benchmarks.quality.formats import CANNOT, UNPUBLISHED, accuracy, executed, percent
from benchmarks.quality.groups import BOUNDS, EVERY, WITH_NEEDLES
from benchmarks.quality.measures import Measured, measured
from benchmarks.quality.outcomes import FULL, Cost, Results
from benchmarks.report.numbers import NOTHING, table

Columns = Mapping[str, Sequence[str]]
CHANGED = ("seats/", "fault/")
"""How names of contenders begin that are SEATS with something changed."""


def columns_of(results: Results, columns: Columns) -> dict[str, list[str]]:
    """Those of which some task was asked, with these tasks."""
    found = {name: [task for task in tasks if task in results.tasks] for name, tasks in columns.items()}
    return {name: tasks for name, tasks in found.items() if tasks}


def by_task(results: Results) -> dict[str, list[str]]:
    return columns_of(results, {task: (task,) for task in EVERY})


def competitors(results: Results, cost: Cost) -> list[str]:
    """Baselines and methods."""
    return [name for name in results.names(cost) if not name.startswith(CHANGED)]


def ranked(results: Results, tasks: Sequence[str], cost: Cost) -> dict[str, Measured | None]:
    """The full model, those who know the answer, the others from best to worst, then those that cannot."""
    found = {name: measured(results, tasks, name, cost) for name in (FULL, *competitors(results, cost))}
    first = [name for name in (FULL, *BOUNDS) if name in found]
    others = [name for name in found if name not in first]
    others.sort(key=lambda name: -one.accuracy.mean if (one := found[name]) else 2.0)
    return {name: found[name] for name in (*first, *others)}


def accuracy_rows(results: Results, cost: Cost, columns: Columns) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: percent of right answers with their intervals, a column for every set of tasks."""
    columns = columns_of(results, columns)
    every = [task for tasks in columns.values() for task in tasks]
    rows = []
    for name, one in ranked(results, every, cost).items():
        reason = results.reason(every[0], name, cost)
        row = [name, executed(one, reason, len(results.models))]
        for tasks in columns.values():
            cell = measured(results, tasks, name, cost) if one else None
            row.append(accuracy(cell.accuracy) if cell else CANNOT if not one else UNPUBLISHED)
        rows.append(row)
    return ["", "layers see, %", *columns], rows


def accuracies(results: Results, cost: Cost, columns: Columns, *, reached: bool = False) -> str:
    """The same as a table of a page; `reached` leaves out who cannot reach the cost."""
    head, rows = accuracy_rows(results, cost, columns)
    return table(head, [row for row in rows if not (reached and row[1].startswith(CANNOT))])


def draws(results: Results, cost: Cost, columns: Columns) -> str:
    """The least and the highest accuracy of a draw of random tokens, by column."""
    columns = columns_of(results, columns)
    found = {name: measured(results, tasks, RANDOM, cost) for name, tasks in columns.items()}
    said = [
        f"{name} {percent(one.spread[0])} to {percent(one.spread[1])}"
        for name, one in found.items()
        if one is not None and one.spread is not None
    ]
    return f"Random is the mean of its draws, which lie within: {', '.join(said)}." if said else ""


def kept(results: Results, cost: Cost) -> str:
    """What is still there of what the answer needs, and how far answers are from those of the full model."""
    tasks = [task for task in WITH_NEEDLES if task in results.tasks]
    rows = []
    for name, one in ranked(results, tasks, cost).items():
        if one is None or name == FULL:
            continue
        numbers = [
            percent(one.recall),
            percent(one.mass),
            f"{one.mass / one.executed:.2f}" if one.executed else NOTHING,
        ]
        rows.append(
            [name, percent(one.executed), percent(one.accuracy.mean), *numbers, percent(one.agreement), f"{one.kl:.2f}"]
        )
    heads = ("layers see, %", "right, %", "needles there, %", "attention kept, %", "over random, times")
    return table(["", *heads, "as the full model, %", "KL, nats"], rows)


def models(results: Results, cost: Cost, names: Sequence[str]) -> str:
    """Accuracies on each model by itself."""
    tasks = [task for task in EVERY if task in results.tasks]
    rows = []
    for name in (FULL, *names):
        one = measured(results, tasks, name, cost)
        if one is not None:
            rows.append([name, *(percent(one.by_model.get(model)) for model in results.models)])
    return table(["", *results.models], rows)
