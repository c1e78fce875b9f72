"""SEATS with one thing changed, and with a fault planted: what it changes in the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.quality.comparisons import Difference, differences
from benchmarks.quality.formats import UNPUBLISHED, executed, percent, points, signed
from benchmarks.quality.groups import GROUPS, OWN, STAGES
from benchmarks.quality.measures import measured
from benchmarks.quality.outcomes import Cost, Results
from benchmarks.quality.tables import CHANGED, columns_of
from benchmarks.report.numbers import NOTHING, table

KNOBS, FAULTS = CHANGED

Found = Mapping[str, Mapping[str, Difference]]


def changes(results: Results, names: Sequence[str], cost: Cost) -> Found:
    """By what an answer needs and by name: with the change less without it, Holm over the changes."""
    columns = columns_of(results, GROUPS)
    return {column: changes_on(results, tasks, names, cost) for column, tasks in columns.items()}


def changes_on(results: Results, tasks: Sequence[str], names: Sequence[str], cost: Cost) -> dict[str, Difference]:
    """The same on some tasks."""
    return {name: _turned(one) for name, one in differences(results, tasks, OWN, names, cost).items()}


def _turned(one: Difference) -> Difference:
    interval = type(one.interval)(-one.interval.mean, -one.interval.high, -one.interval.low)
    return Difference(interval, {model: -value for model, value in one.by_model.items()}, one.p)


def knobs_of(results: Results, cost: Cost) -> list[str]:
    """Stages alone, then everything that is changed in SEATS."""
    there = results.names(cost)
    return [*(name for name in STAGES if name in there), *(name for name in there if name.startswith(KNOBS))]


def faults_of(results: Results, cost: Cost) -> list[str]:
    return [name for name in results.names(cost) if name.startswith(FAULTS)]


def changed(results: Results, names: Sequence[str], cost: Cost) -> str:
    """A row a change."""
    found = changes(results, names, cost)
    every = [task for tasks in columns_of(results, GROUPS).values() for task in tasks]
    rows = []
    for name in names:
        one = measured(results, every, name, cost)
        row = [short(name), executed(one, results.reason(every[0], name, cost), len(results.models))]
        for column in found.values():
            row.append(points(column[name]) if name in column else NOTHING if one is None else UNPUBLISHED)
        rows.append(row)
    return table(["", "layers see, %", *found], rows)


def short(name: str) -> str:
    """Without how names of changes begin; stages by what they are."""
    for prefix in CHANGED:
        name = name.removeprefix(prefix)
    return f"{name} alone" if name in STAGES else name


def ranking(results: Results, costs: Sequence[Cost], names_of: Callable[[Results, Cost], list[str]]) -> list[str]:
    """Sentences: every change by the most points that it surely makes anywhere, then those that surely make none."""
    most: dict[str, tuple[float, str]] = {}
    nothing: dict[str, None] = {}
    for cost in costs:
        for column, by_name in changes(results, names_of(results, cost), cost).items():
            for name, one in by_name.items():
                nothing.setdefault(name)
                if one.sure and abs(one.interval.mean) > abs(most.get(name, (0.0, ""))[0]):
                    at = f"{signed(one.interval.mean)} on {column} at R = {percent(cost.retention, 0)} %"
                    most[name] = one.interval.mean, at
    ordered = sorted(most, key=lambda name: -abs(most[name][0]))
    lines = [f"- {short(name)}: {most[name][1]}" for name in ordered]
    still = [short(name) for name in nothing if name not in most]
    return [*lines, f"- no sure difference anywhere: {', '.join(still)}"] if still else lines
