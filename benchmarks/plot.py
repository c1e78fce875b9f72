"""Pictures of the latest numbers in a file of JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import pyplot

from benchmarks.entry import OURS
from benchmarks.report.style import BLUE, INK, save, where
from benchmarks.results import latest

GROWTH = {"seconds": "seconds", "flops": "FLOPs", "bytes": "bytes moved", "peak_bytes": "peak bytes"}


def draw(results: Path, target: Path) -> None:
    """Bars for `run`, curves for `growth`."""
    rows = latest(results)
    figure = (_curves if all("axis" in row for row in rows.values()) else _bars)(rows)
    one = next(iter(rows.values()))
    save(figure, target, where(rows.values()), bool(one.get("rehearsed")))


def _bars(rows: dict[str, dict[str, Any]]) -> Any:
    """How many times longer than ours the other ways take, entry by entry; a logarithmic axis."""
    bars = []
    for name in sorted(rows, reverse=True):
        sides = rows[name]["sides"]
        ours = sides[OURS]["median"]
        for side, n in sides.items():
            if side != OURS:
                label = name if len(sides) == 2 else f"{name} ({side})"
                bars.append((label, side, n["median"] / ours, n["p20"] / ours, n["p80"] / ours))
    figure, axes = pyplot.subplots(figsize=(10, 0.45 * len(bars) + 1.5), layout="constrained")
    middle = [t for _, _, t, _, _ in bars]
    errors = [[t - low for _, _, t, low, _ in bars], [high - t for _, _, t, _, high in bars]]
    axes.barh([label for label, *_ in bars], middle, xerr=errors, color=BLUE, ecolor=INK)
    for place, (_, other, t, _, _) in enumerate(bars):
        axes.annotate(f" {t:.2f}x  {other}", (max(t, 1.0), place), va="center", fontsize=8)
    axes.axvline(1.0, color=INK, linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(right=max(middle) * 4)
    axes.set_xlabel("time of the other way / time of seats_ops (above 1: seats_ops is faster)")
    return figure


def _curves(rows: dict[str, dict[str, Any]]) -> Any:
    """A column per thing that grows, a row per quantity, a curve per primitive; both axes logarithmic."""
    columns = list(dict.fromkeys(row["axis"] for row in rows.values()))
    size = (4.5 * len(columns), 3 * len(GROWTH))
    entries = sorted({row["entry"] for row in rows.values()})
    figure, grid = pyplot.subplots(len(GROWTH), len(columns), figsize=size, squeeze=False, layout="constrained")
    for row_of_axes, (quantity, label) in zip(grid, GROWTH.items(), strict=True):
        for axes, axis in zip(row_of_axes, columns, strict=True):
            curves: dict[str, list[tuple[float, float]]] = {}
            for row in rows.values():
                value = row[quantity]["median"] if quantity == "seconds" else row[quantity]
                if row["axis"] == axis and value:
                    curves.setdefault(row["entry"], []).append((row["place"], value))
            for entry, points in curves.items():
                color = f"C{entries.index(entry)}"
                axes.loglog(*zip(*sorted(points), strict=True), color=color, marker="o", markersize=3, label=entry)
            axes.set_xlabel(axis)
            axes.set_ylabel(label)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return figure
