"""One retention on three axes side by side, and curves over what clips are like."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.quality.costs import SHARES, Costs
from benchmarks.quality.formats import CANNOT, accuracy, percent
from benchmarks.quality.groups import BOUNDS, GROUPS, WITH_NEEDLES
from benchmarks.quality.measures import measured
from benchmarks.quality.outcomes import Cost, Results
from benchmarks.quality.plan import CLOSE, OTHER_AXES, OTHER_RETENTION
from benchmarks.quality.tables import columns_of, competitors
from benchmarks.quality.tasks import curves
from benchmarks.quality.tasks import task as task_named
from benchmarks.report.numbers import NOTHING, table

AXES = ("layer-average", *OTHER_AXES)
COLUMNS = {"to find": WITH_NEEDLES, "everything": GROUPS["everything"]}


def side_by_side(results: Results, costs: Costs) -> str:
    """What a contender costs in layers' tokens, FLOPs and KV, and what it answers, on each axis."""
    columns = columns_of(results, COLUMNS)
    asked = [Cost(axis, OTHER_RETENTION) for axis in AXES]
    names = dict.fromkeys(name for cost in asked for name in competitors(results, cost) if name not in BOUNDS)
    rows = []
    for name in names:
        cells = []
        for cost in asked:
            shares = [costs.share(name, cost, share) for share in SHARES]
            cells.append(CANNOT if None in shares else " / ".join(percent(share, 0) for share in shares))
            for tasks in columns.values():
                one = measured(results, tasks, name, cost)
                cells.append(accuracy(one.accuracy) if one else NOTHING)
        if any(cell not in (CANNOT, NOTHING) for cell in cells):
            rows.append([name, *cells])
    heads = [f"{axis}: {what}" for axis in AXES for what in ("layers / FLOPs / KV", *columns)]
    return table(["", *heads], rows)


def curve_tables(results: Results) -> Iterator[str]:
    """A table for every task and setting that was varied: accuracy at each value and retention."""
    found: dict[tuple[str, str], dict[float, str]] = {}
    for one in curves():
        base, _, said = one.name.partition("/")
        setting, _, value = said.partition("=")
        if one.name in results.tasks and base in results.tasks:
            found.setdefault((base, setting), {_usual(base, setting): base})[float(value)] = one.name
    for (base, setting), values in found.items():
        asked = [Cost("layer-average", retention) for retention in CLOSE]
        names = dict.fromkeys(name for cost in asked for name in results.names(cost, next(reversed(values.values()))))
        rows = [
            [name, *(_cell(results, values[value], name, cost) for cost in asked for value in sorted(values))]
            for name in names
        ]
        heads = [f"{value:g}, R = {percent(cost.retention, 0)} %" for cost in asked for value in sorted(values)]
        yield table([f"{base}, {setting}", *heads], rows)


def _usual(base: str, setting: str) -> float:
    return float(getattr(task_named(base).scene, setting))


def _cell(results: Results, task: str, name: str, cost: Cost) -> str:
    one = measured(results, (task,), name, cost)
    return accuracy(one.accuracy) if one else CANNOT if results.reason(task, name, cost) else NOTHING
