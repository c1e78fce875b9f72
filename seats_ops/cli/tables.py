"""The demo's tables, and the figures in them that follow from a trace or a config."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from seats_ops import PruneTrace, Schedule
from seats_ops.cost import PromptLengths, prefill_cost

from .run import Run

TOKEN_NOTE = (
    "Mean: the share of these tokens that a layer sees, averaged over all layers; what the retention ratio means."
)


def new_table(title: str, columns: list[str]) -> Table:
    """A table that fits 80 columns: its first column is text, its others are numbers."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", vertical="bottom", no_wrap=number == 0)
    return table


def token_table(runs: list[Run], prompt_tokens: int, num_layers: int) -> Table:
    """Tokens in the sequence after every stage, and the share of audio and video that an average layer saw."""
    traces = [run.trace for run in runs if run.trace is not None]
    stages = [stage_title(stage.layer) for stage in traces[0].stages] if traces else []
    table = new_table(
        "Tokens in the sequence",
        ["", "prompt", *stages, "video\nmean", "audio\nmean"],
    )
    for run in runs:
        kept, left = {"video": 1.0, "audio": 1.0}, [prompt_tokens] * len(stages)
        if run.trace is not None:
            kept = mean_retention(run.trace, num_layers)
            left = [stage.num_tokens for stage in run.trace.stages]
        shares = [f"{kept[name]:.1%}" if name in kept else "-" for name in ("video", "audio")]
        table.add_row(run.name, *[f"{count:,}" for count in (prompt_tokens, *left)], *shares)
    return table


def cost_table(runs: list[Run], flops: dict[str, list[int]]) -> Table:
    """FLOPs, KV bytes and measured time per run, each with the ratio of the first run to it.

    Args:
        runs: Measured; the first one is the baseline.
        flops: Where -> FLOPs of every run there.
    """
    columns: list[tuple[str, str, list[float]]] = []
    for place, counts in flops.items():
        unit, size = ("TFLOPs", 1e12) if counts[0] >= 1e12 else ("GFLOPs", 1e9)
        columns.append((f"{unit}\n{place}", ",.0f" if counts[-1] >= 10 * size else ",.2f", [n / size for n in counts]))
    seconds = ".2f" if runs[-1].decoder >= 0.1 else ".4f"
    columns += [
        ("KV\nMiB", ",.2f", [run.kv_bytes / 2**20 for run in runs]),
        ("prefill\ns", seconds, [run.prefill for run in runs]),
        ("decoder\ns", seconds, [run.decoder for run in runs]),
    ]
    table = new_table(
        "Cost of the prefill",
        ["", *[heading for title, *_ in columns for heading in (title, "ratio")]],
    )
    for number, run in enumerate(runs):
        cells = []
        for _, form, values in columns:
            cells += [f"{values[number]:{form}}", f"{values[0] / values[number]:.1f}x"]
        table.add_row(run.name, *cells)
    return table


def cost_note(flops: dict[str, list[int]], repeats: int) -> str:
    """What the columns of `cost_table` mean."""
    paper = "; on a 7B, with the logits of all tokens left, as in the paper" if len(flops) > 1 else ""
    return (
        f"FLOPs are computed, one per multiply-add: here those of the decoder layers{paper}. KV cache and seconds are "
        "measured here. Prefill: encoders, selection, decoder layers, logits of the last token, median of "
        f"{repeats}. Decoder: the same without the encoders."
    )


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
