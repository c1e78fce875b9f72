"""SEATS beside each of the others on the same items, OmniPack beside SEATS, and who loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.quality.comparisons import Difference, difference, differences, lossless
from benchmarks.quality.costs import Costs
from benchmarks.quality.formats import UNPUBLISHED, percent, points
from benchmarks.quality.groups import BOUNDS, EVERY, GROUPS, OWN, WITH_NEEDLES
from benchmarks.quality.measures import measured
from benchmarks.quality.outcomes import FULL, Cost, Results
from benchmarks.quality.statistics import SIGNIFICANT, holm
from benchmarks.quality.tables import columns_of, competitors
from benchmarks.report.numbers import NOTHING, table

RIVAL = "omnipack"
KEEPS = 0.95
"""Of the full model's accuracy."""


def against(results: Results, cost: Cost) -> str:
    """SEATS less every other contender, by what an answer needs; Holm over contenders."""
    columns = columns_of(results, GROUPS)
    others = [name for name in competitors(results, cost) if name not in (OWN, *BOUNDS)]
    found = {name: differences(results, tasks, OWN, others, cost) for name, tasks in columns.items()}
    reached = [other for other in others if any(other in one for one in found.values())]
    rows = [[other, *(_cell(one.get(other)) for one in found.values())] for other in reached]
    return table([f"{OWN} less", *columns], rows)


def _cell(one: Difference | None) -> str:
    return points(one) if one else UNPUBLISHED


def pair(results: Results, first: str, second: str, costs: Sequence[Cost]) -> str:
    """One contender less another by task and cost; Holm over the whole table."""
    rows = [task for task in EVERY if task in results.tasks]
    found = {
        (task, cost): one
        for task in rows
        for cost in costs
        if (one := difference(results, (task,), (first, cost), (second, cost))) is not None
    }
    corrected = holm({key: one.p for key, one in found.items()})
    found = {key: replace(one, p=corrected[key]) for key, one in found.items()}
    shown = [cost for cost in costs if any((task, cost) in found for task in rows)]
    body = [
        [task, *(points(found[task, cost]) if (task, cost) in found else NOTHING for cost in shown)] for task in rows
    ]
    return table([f"{first} less {second}", *(f"R = {percent(cost.retention, 0)} %" for cost in shown)], body)


def tally(results: Results, first: str, second: str, costs: Sequence[Cost]) -> list[str]:
    """Sentences: where one of both is surely better, over all tasks with something to find."""
    lines = []
    for cost in costs:
        tasks = columns_of(results, {"needles": WITH_NEEDLES}).get("needles", [])
        one = difference(results, tasks, (first, cost), (second, cost))
        if one is None:
            lines.append(f"- R = {percent(cost.retention, 0)} %: not both reach it")
            continue
        said = "not told apart" if not one.sure else f"{first if one.interval.mean > 0 else second} is better"
        lines.append(f"- R = {percent(cost.retention, 0)} %, all tasks with something to find: {said}, {points(one)}")
    return lines


def equivalent(results: Results, costs: Sequence[Cost]) -> str:
    """Who is within a point of the full model, by cost and by what an answer needs."""
    columns = columns_of(results, GROUPS)
    rows = []
    for cost in costs:
        names = [name for name in competitors(results, cost) if name not in BOUNDS]
        cells = []
        for tasks in columns.values():
            found = lossless(results, tasks, names, cost)
            cells.append(", ".join(name for name, p in found.items() if p < SIGNIFICANT) or "nobody")
        rows.append([f"{percent(cost.retention, 0)} %", *cells])
    return table(["R", *columns], rows)


def least_flops(results: Results, costs: Costs, asked: Sequence[Cost]) -> str:
    """The least executed FLOPs, of the retentions asked, at which the interval of accuracy lies above KEEPS."""
    columns = columns_of(results, GROUPS)
    names = dict.fromkeys(name for cost in asked for name in competitors(results, cost) if name not in BOUNDS)
    rows = []
    for name in names:
        cells = [_least(results, costs, tasks, name, asked) for tasks in columns.values()]
        if any(cell is not None for cell in cells):
            rows.append([name, *("more" if cell is None else percent(cell) for cell in cells)])
    return table(["", *columns], rows)


def _least(results: Results, costs: Costs, tasks: Sequence[str], name: str, asked: Sequence[Cost]) -> float | None:
    found = []
    for cost in asked:
        one, full = measured(results, tasks, name, cost), measured(results, tasks, FULL, cost)
        flops = costs.share(name, cost, "flops")
        if one and full and flops is not None and one.accuracy.low >= KEEPS * full.accuracy.mean:
            found.append(flops)
    return min(found, default=None)
