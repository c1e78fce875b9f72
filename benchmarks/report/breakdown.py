"""Where the time of a whole prefill goes, without pruning and at every retention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import pyplot

from benchmarks.report.numbers import significant
from benchmarks.report.style import BLUE, CYAN, GREEN, GREY, INK, PURPLE, RED, YELLOW, save, where

Parts = dict[str, float]
COLORS = {
    "towers": GREY,
    "decoder layers": BLUE,
    "saliency": GREEN,
    "layout and Stage I": YELLOW,
    "drops": RED,
    "cache and hooks": PURPLE,
    "rest": CYAN,
}
OURS = ("saliency", "layout and Stage I", "drops", "cache and hooks")


def parts(row: dict[str, Any]) -> Parts:
    """Milliseconds of a pruned prefill; hooks that wait for a GPU make the parts add up to more than the whole."""
    own = dict(row["own_seconds"])
    found = {"towers": row["seconds_towers"]["median"], "decoder layers": row["seconds_layers"]}
    found |= {name: own.pop(name, 0.0) for name in ("saliency", "layout and Stage I")}
    found["drops"] = sum(own.pop(name) for name in list(own) if name.startswith("drop "))
    found["cache and hooks"] = sum(own.values())
    return _with_rest(found, row["seconds_with_towers"]["median"])


def parts_unpruned(row: dict[str, Any]) -> Parts:
    """The same without pruning."""
    found = {"towers": row["seconds_towers_unpruned"]["median"], "decoder layers": row["seconds_layers_unpruned"]}
    return _with_rest(found, row["seconds_with_towers_unpruned"]["median"])


def _with_rest(found: Parts, whole: float) -> Parts:
    return {name: 1e3 * value for name, value in {**found, "rest": max(0.0, whole - sum(found.values()))}.items()}


def draw(rows: dict[str, dict[str, Any]], target: Path, rehearsed: bool) -> bool:
    """Left everything, right what is ours; False where there is nothing."""
    found = [row for row in rows.values() if row["name"].startswith("prefill/")]
    if not found:
        return False
    bars: dict[str, Parts] = {}
    for row in sorted(found, key=lambda row: (row["width"], -int(row["name"].partition("/")[2]))):
        bars.setdefault(f"width {row['width']}, all tokens", parts_unpruned(row))
        bars[f"width {row['width']}, R = {row['name'].partition('/')[2]} %"] = parts(row)
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(13, 0.42 * len(bars) + 2.4), layout="constrained", width_ratios=(3, 2), sharey=True
    )
    _stack(left, bars, list(COLORS), rehearsed)
    _stack(right, {name: bar if "R =" in name else {} for name, bar in bars.items()}, list(OURS), rehearsed)
    left.set_title("whole prefill", fontsize=9)
    right.set_title("ours alone", fontsize=9)
    left.invert_yaxis()
    for axes in (left, right):
        axes.set_xlabel("ms")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.tick_params(labelbottom=not rehearsed)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9)
    save(figure, target, where(found), rehearsed)
    return True


def _stack(axes: Any, bars: dict[str, Parts], names: list[str], rehearsed: bool) -> None:
    begin = dict.fromkeys(bars, 0.0)
    for name in names:
        widths = [bar.get(name, 0.0) for bar in bars.values()]
        axes.barh(list(bars), widths, left=list(begin.values()), color=COLORS[name], label=name, height=0.7)
        begin = {bar: start + width for (bar, start), width in zip(begin.items(), widths, strict=True)}
    for place, total in enumerate(begin.values()):
        if total and not rehearsed:
            axes.annotate(f" {significant(total)}", (total, place), va="center", fontsize=8, color=INK)
    axes.set_xlim(right=1.12 * max(begin.values()))
