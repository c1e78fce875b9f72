"""Errors by when in a clip the thing in question comes, and by how many tokens show it."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.examine import subjects_of
from benchmarks.quality.formats import CANNOT, accuracy, percent
from benchmarks.quality.groups import WITH_NEEDLES
from benchmarks.quality.measures import measured
from benchmarks.quality.outcomes import Cost, Results
from benchmarks.quality.prompts import num_subjects
from benchmarks.quality.statistics import Interval, wilson
from benchmarks.quality.tables import ranked
from benchmarks.quality.tasks import task as task_named
from benchmarks.report.numbers import table

PARTS = ("first quarter", "second", "third", "last")
SIZES = {"needle-1": 1, "needle-2": 2, "needle-4": 4}
"""Tokens that show the object, by task."""


@functools.cache
def quarters(name: str, chunks: tuple[int, ...], items: int) -> NDArray[np.int64]:
    """[C, n] in which part of its clip's objects or tones, in order of time, the one in question comes."""
    one = task_named(name)
    subjects = np.stack([subjects_of(one, chunk, items).numpy() for chunk in chunks])
    return subjects * len(PARTS) // num_subjects(one.kind, one.scene)


def by_quarter(results: Results, tasks: Sequence[str], name: str, cost: Cost) -> list[Interval] | None:
    """Share of right answers in each part of a clip, over all tasks and models."""
    right, items = np.zeros(len(PARTS)), np.zeros(len(PARTS))
    for task in tasks:
        for [draws] in results.together(task, (name, cost)).values():
            part = quarters(task, draws[0].chunks, draws[0].right.shape[1])
            mean = np.mean([one.right for one in draws], axis=0)
            right += np.bincount(part.ravel(), weights=mean.ravel(), minlength=len(PARTS))
            items += np.bincount(part.ravel(), minlength=len(PARTS))
    if not items.all():
        return None
    return [wilson(float(r), int(n)) for r, n in zip(right, items, strict=True)]


def positions(results: Results, cost: Cost) -> str:
    """Errors in percent, of tasks with something to find, by part of the clip."""
    tasks = [task for task in WITH_NEEDLES if task in results.tasks]
    rows = []
    for name, one in ranked(results, tasks, cost).items():
        parts = by_quarter(results, tasks, name, cost) if one else None
        if parts:
            errors = [1 - part.mean for part in parts]
            rows.append([name, *map(_error, parts), percent(max(errors) - min(errors))])
    return table(["wrong, %", *PARTS, "most less least"], rows)


def _error(one: Interval) -> str:
    return accuracy(Interval(1 - one.mean, 1 - one.high, 1 - one.low))


def needle_sizes(results: Results, costs: Sequence[Cost]) -> str:
    """Errors in percent by tokens of the object, at each cost."""
    sizes = {task: size for task, size in SIZES.items() if task in results.tasks}
    names = dict.fromkeys(name for cost in costs for name, one in ranked(results, list(sizes), cost).items() if one)
    rows = []
    for name in names:
        cells = []
        for cost in costs:
            for task in sizes:
                found = measured(results, (task,), name, cost)
                cells.append(_error(found.accuracy) if found else CANNOT)
        rows.append([name, *cells])
    heads = [
        f"{size} token{'s' * (size > 1)}, R = {percent(cost.retention, 0)} %"
        for cost in costs
        for size in sizes.values()
    ]
    return table(["wrong, %", *heads], rows)
