"""Bars of the latest numbers in a file of JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.entry import OURS


def latest(path: Path) -> dict[str, dict[str, Any]]:
    """The last row of every entry."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {row["name"]: row for row in rows}


def draw(results: Path, target: Path) -> None:
    """How many times longer than ours the other way takes, entry by entry; a logarithmic axis."""
    rows = latest(results)
    names = sorted(rows, reverse=True)
    times = []
    for name in names:
        sides = rows[name]["sides"]
        ours = sides[OURS]["median"]
        other, numbers = next((side, n) for side, n in sides.items() if side != OURS)
        times.append((other, numbers["median"] / ours, numbers["p20"] / ours, numbers["p80"] / ours))
    figure, axes = pyplot.subplots(figsize=(9, 0.45 * len(names) + 1.5), layout="constrained")
    middle = [t for _, t, _, _ in times]
    errors = [[t - low for _, t, low, _ in times], [high - t for _, t, _, high in times]]
    axes.barh(names, middle, xerr=errors, color="#4477aa", ecolor="#222222")
    for place, (other, t, _, _) in enumerate(times):
        axes.annotate(f" {t:.2f}x  {other}", (max(t, 1.0), place), va="center", fontsize=8)
    axes.axvline(1.0, color="#222222", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(right=max(middle) * 4)
    one = rows[names[0]]
    axes.set_xlabel("time of the other way / time of seats_ops (above 1: seats_ops is faster)")
    axes.set_title(f"{one['device']}, {one['threads']} thread(s), torch {one['versions']['torch']}, {one['revision']}")
    figure.savefig(target, dpi=120)
    pyplot.close(figure)
