"""A plan as a picture: tokens, FLOPs and keys by layer, and what other retentions would cost."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seats_ops import Schedule, seats
from seats_ops.cost import prefill_cost
from seats_ops.files import write_whole
from seats_ops.retention import highest_retention, paper_ratios

from .picture import INK, KEPT, MUTED, RULE
from .plan_found import Plan

ALL, PLANNED, OTHER = KEPT[0], KEPT[1], KEPT[3]
POINTS = 36


def draw_plan(path: Path, plan: Plan) -> None:
    """Write the PNG. Raises OSError."""
    cost, full = plan.cost, prefill_cost(plan.config, Schedule(), plan.lengths)
    figure = Figure(figsize=(10, 6.2), dpi=120, facecolor="white", layout="constrained")
    figure.suptitle(f"{plan.model}: {plan.lengths.total:,} tokens", color=INK, fontsize=13, fontweight="bold")
    tokens, flops, kv, share = figure.subplots(2, 2).flat
    for axes, title, unit, values, of_all in (
        (tokens, "Tokens a layer runs on", 1, cost.tokens_per_layer, full.tokens_per_layer),
        (flops, "TFLOPs of a layer", 1e12, cost.flops_per_layer, full.flops_per_layer),
        (
            kv,
            f"KV cache of a layer in MiB, {plan.asked.kv_policy}",
            2**20,
            cost.kv_bytes_per_layer,
            full.kv_bytes_per_layer,
        ),
    ):
        _by_layer(axes, title, [n / unit for n in values], [n / unit for n in of_all])
    tokens.yaxis.set_major_formatter("{x:,.0f}")
    if plan.ratios is None:
        share.set_axis_off()  # A schedule of one's own need not be of a model that has ratios.
    else:
        _by_retention(share, plan)
    tokens.legend(frameon=False, fontsize=8, loc="center right")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    write_whole(path, drawn.getvalue())


def _by_layer(axes: Axes, title: str, values: Sequence[float], of_all: Sequence[float]) -> None:
    edges = [number + 0.5 for number in range(len(values) + 1)]
    axes.stairs(of_all, edges, color=ALL, linewidth=1.2, linestyle="--", label="all tokens", baseline=None)
    axes.stairs(values, edges, color=PLANNED, fill=True, alpha=0.25)
    axes.stairs(values, edges, color=PLANNED, linewidth=1.6, label="this schedule", baseline=None)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("layer", color=MUTED, fontsize=8)
    _tidy(axes, title)


def _by_retention(axes: Axes, plan: Plan) -> None:
    most = highest_retention(plan.config)
    grid = [most * number / POINTS for number in range(POINTS + 1)]
    costs = []
    for retention in grid:
        video, audio = paper_ratios(plan.config, min(retention, most))
        schedule = seats(plan.config, video=video, audio=audio, exact_total=plan.asked.exact_total)
        costs.append(prefill_cost(plan.config, schedule, plan.lengths, kv_policy=plan.asked.kv_policy))
    percent = [100 * retention for retention in grid]
    for color, name, shares, own in (
        (PLANNED, "FLOPs", [100 * cost.flops_share for cost in costs], plan.cost.flops_share),
        (OTHER, "KV cache", [100 * cost.kv_share for cost in costs], plan.cost.kv_share),
    ):
        axes.plot(percent, shares, color=color, linewidth=1.6, label=name)
        axes.axhline(100 * own, color=color, linewidth=0.9, linestyle=":")
    if plan.fit is not None and plan.fit.retention <= most:
        axes.axvline(100 * plan.fit.retention, color=INK, linewidth=0.9, linestyle=":")
    axes.set_xlim(0, percent[-1])
    axes.set_xlabel("retention R in % of audio and video tokens", color=MUTED, fontsize=8)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    _tidy(axes, "Cost in % of all tokens'; dotted: this schedule")


def _tidy(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=10)
    axes.set_ylim(bottom=0)
    axes.tick_params(colors=MUTED, labelsize=8)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
