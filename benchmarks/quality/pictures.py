"""Accuracy against executed FLOPs, what media are needed up to which layer, errors by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot

from benchmarks.quality.costs import Costs
from benchmarks.quality.gate_tables import Passed
from benchmarks.quality.groups import BASELINES, EVERY, GROUPS, OWN, WITH_NEEDLES
from benchmarks.quality.measures import measured
from benchmarks.quality.outcomes import FULL, Cost, Results
from benchmarks.quality.plan import RETENTIONS
from benchmarks.quality.positions import PARTS, by_quarter
from benchmarks.quality.tables import competitors
from benchmarks.quality.tasks import task as task_named
from benchmarks.report.style import BLUE, CYAN, GREEN, GREY, INK, PURPLE, RED, YELLOW
from seats_ops.horizon import MEDIA

DRAWN = {
    "oracle": (GREY, ":", "."),
    OWN: (RED, "-", "o"),
    "seats-selector": (PURPLE, "-", "v"),
    "omnipack": (BLUE, "-", "s"),
    "divprune-om": (GREEN, "-", "^"),
    "omnizip": (YELLOW, "-", "D"),
    "fastv-om": (CYAN, "-", "P"),
    "uniform": (INK, "--", "x"),
    "random": (INK, ":", "+"),
}
"""Colour, line and mark of those that reach small budgets; all others are in the tables."""
LINES, MARKS = ("-", "--", "-.", ":"), ("o", "s", "^", "x", "D", "v")
COLUMNS = 4


def draw_all(results: Results, costs: Costs, found: Mapping[str, Passed], folder: Path) -> list[Path]:
    """Pictures in `folder`, of which a page shows `quality-*.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "flops": accuracy_by_flops(results, costs),
        "knock-out": knock_out(found),
        "position": errors_by_position(results, Cost("layer-average", 0.2)),
    }
    written = []
    for name, figure in figures.items():
        written.append(folder / f"quality-{name}.png")
        figure.savefig(written[-1], dpi=110)
        pyplot.close(figure)
    return written


def _panels(titles: Sequence[str], across: str, up: str, height: float = 2.3) -> tuple[Any, list[Any]]:
    """One a title, with what all of them have on both axes."""
    count = len(titles)
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    size = (11, height * rows + 0.7)
    figure, grid = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, sharey=True)
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.axis("off")
    for axes, title in zip(panels, titles, strict=False):
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
    figure.supxlabel(across, fontsize=9)
    figure.supylabel(up, fontsize=9)
    return figure, panels[:count]


def _legend(figure: Any, panels: Sequence[Any]) -> None:
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=min(len(found), 8), fontsize=8)


def accuracy_by_flops(results: Results, costs: Costs) -> Any:
    """A panel a task: percent right with intervals against the share of the full prefill's FLOPs."""
    tasks = [task for task in EVERY if task in results.tasks]
    across = "executed FLOPs of a prefill, choosing included, % of the full model's"
    figure, panels = _panels(tasks, across, "right answers, %")
    for axes, task in zip(panels, tasks, strict=True):
        full = measured(results, (task,), FULL, Cost("layer-average", RETENTIONS[0]))
        if full:
            axes.axhline(100 * full.accuracy.mean, color=GREY, linewidth=1, label="full")
        axes.axhline(100 * task_named(task).kind.chance, color=GREY, linewidth=1, linestyle=(0, (1, 3)), label="chance")
        for name, (color, line, mark) in DRAWN.items():
            points = []
            for retention in RETENTIONS:
                cost = Cost("layer-average", retention)
                one, flops = measured(results, (task,), name, cost), costs.share(name, cost, "flops")
                if one and flops is not None:
                    mean, low, high = (100 * v for v in (one.accuracy.mean, one.accuracy.low, one.accuracy.high))
                    points.append((100 * flops, mean, max(0.0, mean - low), max(0.0, high - mean)))
            if points:
                x, y, below, above = np.array(sorted(points)).T
                style = {"color": color, "linestyle": line, "marker": mark, "markersize": 4, "linewidth": 1.2}
                axes.errorbar(x, y, yerr=(below, above), label=name, elinewidth=0.8, capsize=1.5, **style)
        axes.set_ylim(0, 104)
    _legend(figure, panels)
    return figure


def knock_out(found: Mapping[str, Passed]) -> Any:
    """A panel a model: percent of answers that stay when all media leave after a layer, a line a task."""
    up = "answers that stay as they were, %"
    figure, panels = _panels(list(found), "all media leave after this layer", up, height=3.2)
    styles = {
        task: {"color": color, "linestyle": LINES[number % len(LINES)], "marker": MARKS[number % len(MARKS)]}
        for color, tasks in zip((BLUE, GREEN, RED, YELLOW), GROUPS.values(), strict=True)
        for number, task in enumerate(tasks)
    }
    for axes, one in zip(panels, found.values(), strict=True):
        for task in dict.fromkeys(one.horizon.labels or ()):
            rows = one.horizon.of(task)
            y = [100 * np.mean(rows.cell(MEDIA, layer).agreement) for layer in rows.layers]
            axes.plot(rows.layers, y, linewidth=1.2, markersize=4, label=task, **styles[task])
        axes.axvline(one.layers["late"] - 1, color=INK, linewidth=1, linestyle="--", label="the late drop")
        axes.set_ylim(0, 104)
    _legend(figure, panels)
    return figure


def errors_by_position(results: Results, cost: Cost) -> Any:
    """A panel a contender that reaches the cost: wrong answers by part of the clip, with intervals."""
    tasks = [task for task in WITH_NEEDLES if task in results.tasks]
    names = [FULL, *(name for name in DRAWN if name in competitors(results, cost)), *BASELINES]
    found = {name: parts for name in dict.fromkeys(names) if (parts := by_quarter(results, tasks, name, cost))}
    across = "quarter of the clip in which the thing in question comes"
    figure, panels = _panels(list(found), across, "wrong answers, %", height=2.0)
    for axes, parts in zip(panels, found.values(), strict=True):
        y = [100 * (1 - part.mean) for part in parts]
        errors = [[100 * (part.high - part.mean) for part in parts], [100 * (part.mean - part.low) for part in parts]]
        axes.bar(range(len(PARTS)), y, yerr=np.maximum(0.0, errors), color=BLUE, ecolor=INK, error_kw={"linewidth": 1})
        axes.set_xticks(range(len(PARTS)), ("1st", "2nd", "3rd", "4th"))
    return figure
