"""Pictures of the latest numbers in a file of JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import matplotlib
import typer

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.entry import OURS
from benchmarks.results import RESULTS, latest

GROWTH = {"seconds": "seconds", "flops": "FLOPs", "bytes": "bytes moved", "peak_bytes": "peak bytes"}


def plot(
    results: Annotated[Path, typer.Argument(help="JSON lines of `run` or `growth`")] = RESULTS / "primitives.jsonl",
    target: Annotated[Path | None, typer.Argument(help="picture to write; beside the results by default")] = None,
) -> None:
    """A picture of the latest numbers of every entry in a file."""
    target = target or results.with_suffix(".png")
    draw(results, target)
    print(f"wrote {target}")


def draw(results: Path, target: Path) -> None:
    """Bars for `run`, curves for `growth`."""
    rows = latest(results)
    figure = (_curves if all("axis" in row for row in rows.values()) else _bars)(rows)
    one = next(iter(rows.values()))
    where = f"{one['device']}, {one['threads']} thread(s), torch {one['versions']['torch']}, {one['revision']}"
    figure.suptitle(where, fontsize=10)
    figure.savefig(target, dpi=120)
    pyplot.close(figure)


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
    axes.barh([label for label, *_ in bars], middle, xerr=errors, color="#4477aa", ecolor="#222222")
    for place, (_, other, t, _, _) in enumerate(bars):
        axes.annotate(f" {t:.2f}x  {other}", (max(t, 1.0), place), va="center", fontsize=8)
    axes.axvline(1.0, color="#222222", linewidth=1)
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
