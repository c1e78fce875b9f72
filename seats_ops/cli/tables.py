"""The demo's tables and their machine-readable twin."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from seats_ops import PruneTrace, Schedule
from seats_ops.cost import PromptLengths, prefill_cost

from .run import Run


def new_table(title: str, columns: list[str]) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=number == 0)
    return table


def token_table(runs: list[Run], prompt_tokens: int, num_layers: int) -> Table:
    """Tokens in the sequence after every stage, and the share of audio and video that an average layer saw."""
    traces = [run.trace for run in runs if run.trace is not None]
    stages = [stage_title(stage.layer) for stage in traces[0].stages] if traces else []
    table = new_table(
        "Tokens in the sequence (text, video and audio)",
        ["", "prompt", *stages, "video kept,\nmean of layers", "audio kept,\nmean of layers"],
    )
    for run in runs:
        if run.trace is None:
            table.add_row(run.name, f"{prompt_tokens:,}", *[f"{prompt_tokens:,}"] * len(stages), "100.0%", "100.0%")
            continue
        kept = mean_retention(run.trace, num_layers)
        table.add_row(
            run.name,
            f"{prompt_tokens:,}",
            *[f"{stage.num_tokens:,}" for stage in run.trace.stages],
            *[f"{kept[name]:.1%}" if name in kept else "-" for name in ("video", "audio")],
        )
    return table


def cost_table(runs: list[Run], flops: dict[str, list[int]]) -> Table:
    """FLOPs, KV bytes and measured time per run, each with its ratio to the first run.

    Args:
        runs: Measured; the first one is the baseline.
        flops: Column title -> FLOPs of every run.
    """
    columns = [""]
    for title in flops:
        columns += [title, "fewer"]
    columns += ["KV cache\nMiB", "smaller", "prefill\nms", "faster", "without\nencoders, ms", "faster"]
    table = new_table("Cost of the prefill (times: median, measured here; FLOPs: computed)", columns)
    for number, run in enumerate(runs):
        cells = [run.name]
        for values in flops.values():
            cells += [f"{values[number] / 1e12:.3g}", _times(values[0], values[number])]
        for baseline, value, unit in (
            (runs[0].kv_bytes, run.kv_bytes, 2**20),
            (runs[0].prefill, run.prefill, 1e-3),
            (runs[0].decoder, run.decoder, 1e-3),
        ):
            cells += [f"{value / unit:,.1f}" if unit > 1 else f"{value / unit:,.0f}", _times(baseline, value)]
        table.add_row(*cells)
    return table


def stage_title(layer: int) -> str:
    """Column title of a stage."""
    return f"after\nlayer {layer}" if layer else "before\nlayer 1"


def mean_retention(trace: PruneTrace, num_layers: int) -> dict[str, float]:
    """Share of the video and of the audio tokens that a layer saw, averaged over all layers; what R means."""
    kept = {}
    for name in ("video", "audio"):
        before = trace.prompt_counts.get(name, 0)
        if before:
            seen = [before] * num_layers
            for stage in trace.stages:
                seen[stage.layer :] = [stage.counts.get(name, 0)] * (num_layers - stage.layer)
            kept[name] = sum(seen) / (before * num_layers)
    return kept


def layer_flops(config: Any, runs: list[Run], lengths: PromptLengths) -> list[int]:
    """FLOPs of the decoder layers alone, one per multiply-add: what the measured forward computes but for one logit."""
    return [sum(prefill_cost(config, run.schedule or Schedule(), lengths).flops_per_layer) for run in runs]


def paper_flops(config: Any, runs: list[Run], lengths: PromptLengths) -> list[int]:
    """FLOPs as the paper counts them: decoder layers and logits of every token that is left."""
    return [prefill_cost(config, run.schedule or Schedule(), lengths).flops for run in runs]


def _times(baseline: float, value: float) -> str:
    return f"{baseline / value:.1f}x" if value else "-"
