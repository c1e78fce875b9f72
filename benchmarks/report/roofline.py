"""Every entry under the measured ceilings of its device."""

from __future__ import annotations

from math import log10
from pathlib import Path
from typing import Any

from matplotlib import pyplot

from benchmarks.entry import OURS
from benchmarks.report.speed import kernel_seconds
from benchmarks.report.style import BLUE, INK, RED, save, where

Rows = dict[str, dict[str, Any]]


def draw(rows: Rows, target: Path, rehearsed: bool) -> bool:
    """Left FLOP/s over FLOPs per byte, right the share of what the ceilings allow; False where there is nothing."""
    entries = {name: row for name, row in sorted(rows.items()) if "sides" in row}
    if not entries:
        return False
    one = next(iter(entries.values()))
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(13, 0.38 * len(entries) + 2.6), layout="constrained", width_ratios=(1, 1)
    )
    _roof(left, entries, one["ceilings"], rehearsed)
    _shares(right, entries)
    if rehearsed:
        for axes in (left, right):
            axes.tick_params(axis="both", which="both", labelbottom=False)
        left.tick_params(axis="y", which="both", labelleft=False)
    handles = [left.plot([], [], "o", color=BLUE)[0], left.plot([], [], "x", color=RED)[0]]
    figure.legend(handles, ["seats_ops", "others"], loc="outside lower center", ncols=2, fontsize=9)
    save(figure, target, where(entries.values()), rehearsed)
    return True


def _roof(axes: Any, entries: Rows, best: dict[str, float], rehearsed: bool) -> None:
    """Work without FLOPs has no place here."""
    points = {name: row for name, row in entries.items() if row["flops"]}
    numbers = {name: number for number, name in enumerate(entries, start=1)}
    ridge = best["flops_per_s"] / best["bytes_per_s"]
    intensities = [row["flops"] / row["bytes"] for row in points.values()]
    low, high = min([*intensities, ridge]) / 3, max([*intensities, ridge]) * 3
    axes.plot(
        [low, ridge, high],
        [low * best["bytes_per_s"], best["flops_per_s"], best["flops_per_s"]],
        color=INK,
        linewidth=1.5,
    )
    groups: list[list[tuple[int, float, float]]] = []
    for name, row in points.items():
        x = row["flops"] / row["bytes"]
        for side, measured in row["sides"].items():
            y = row["flops"] / kernel_seconds(measured)
            _mark(axes, x, y, side == OURS)
            if side == OURS:
                # Points that nearly coincide share a label.
                near = [group for group in groups if any(_close(x, y, *other[1:]) for other in group)]
                groups += [] if near else [[]]
                (near or groups[-1:])[0].append((numbers[name], x, y))
    for together in groups:
        _, x, y = max(together, key=lambda each: each[2])
        text = ", ".join(str(number) for number, _, _ in together)
        axes.annotate(text, (x, y), textcoords="offset points", xytext=(7, 4), fontsize=9, color=INK)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("FLOPs per byte")
    axes.set_ylabel("FLOP/s")
    if not rehearsed:
        rates = f"{best['bytes_per_s'] / 1e9:,.0f} GB/s, {best['flops_per_s'] / 1e12:,.2f} TFLOP/s"
        axes.set_title(f"measured ceilings: {rates}", fontsize=9)
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)


def _close(x: float, y: float, other_x: float, other_y: float) -> bool:
    return abs(log10(x / other_x)) < 0.15 and abs(log10(y / other_y)) < 0.2


def _shares(axes: Any, entries: Rows) -> None:
    """Least possible seconds over measured ones."""
    for place, row in enumerate(entries.values()):
        best = row["ceilings"]
        floor = max(row["flops"] / best["flops_per_s"], row["bytes"] / best["bytes_per_s"])
        for side, measured in row["sides"].items():
            _mark(axes, floor / kernel_seconds(measured), place, side == OURS)
    axes.axvline(1.0, color=INK, linewidth=1.5)
    axes.set_yticks(range(len(entries)), [f"{number}  {name}" for number, name in enumerate(entries, start=1)])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("share of what the ceilings allow (1 = as fast as they let it)")
    axes.grid(True, axis="both", which="major", color="#dddddd", linewidth=0.6)


def _mark(axes: Any, x: float, y: float, ours: bool) -> None:
    axes.plot(x, y, "o" if ours else "x", color=BLUE if ours else RED, markersize=7 if ours else 6)
