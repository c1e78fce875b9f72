"""The demo's tables, and the figures in them that follow from a trace or a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from seats_ops import PruneTrace, Schedule
from seats_ops.cost import PromptLengths, prefill_cost

from .noise import Measured, told_apart

if TYPE_CHECKING:
    from .run import Run  # loads transformers, which `inspect` needs not

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


def cost_table(runs: list[Run], flops: dict[str, list[int]], clock: str) -> Table:
    """FLOPs, KV bytes and measured time per run, each with the ratio of the first run to it.

    Args:
        runs: Measured; the first one is the baseline, and each keeps less than the one before it.
        flops: Where -> FLOPs of every run there.
        clock: What the times are: "CPU s" or "s".
    """
    columns: list[tuple[str, str, list[float]]] = []
    for place, counts in flops.items():
        unit, size = ("TFLOPs", 1e12) if counts[0] >= 1e12 else ("GFLOPs", 1e9)
        columns.append((f"{unit}\n{place}", ",.0f" if counts[-1] >= 10 * size else ",.2f", [n / size for n in counts]))
    columns.append(("KV\nMiB", ",.2f", [run.kv_bytes / 2**20 for run in runs]))
    times = told_apart([run.prefill_seconds for run in runs])
    table = new_table(
        "Cost of the prefill",
        ["", *[heading for title, *_ in columns for heading in (title, "ratio")], f"prefill\n{clock}", "ratio"],
    )
    for number, run in enumerate(runs):
        cells = []
        for _, form, values in columns:
            cells += [f"{values[number]:{form}}", f"{values[0] / values[number]:.1f}x"]
        about = "~" if times[number].shared else ""
        cells += [about + spread(times[number]), f"{about}{times[0].median / times[number].median:.1f}x"]
        table.add_row(run.name, *cells)
    return table


def spread(times: Measured) -> str:
    """Median, lowest and highest."""
    form = ".2f" if times.median >= 0.1 else ".4f"
    low, high = min(times.seconds), max(times.seconds)
    return f"{times.median:{form}} ({low:{form}}-{high:{form}})"


def cost_note(flops: dict[str, list[int]], runs: list[Run]) -> str:
    """What the columns of `cost_table` mean."""
    repeats = len(runs[0].prefill_seconds)
    shared = any(time.shared for time in told_apart([run.prefill_seconds for run in runs]))
    paper = "; on a 7B, with the logits of all tokens left, as in the paper" if len(flops) > 1 else ""
    return (
        f"FLOPs are computed, one per multiply-add: here those of the decoder layers{paper}. KV cache and seconds are "
        "measured here. Prefill: encoders, selection, decoder layers, logits of the last token; median of "
        f"{repeats}, in brackets lowest and highest."
        + " ~: not told apart from a neighbour, as their measurements overlap; they share one figure."
        * shared
    )


def saved(runs: list[Run], number: int, flops: list[int], clock: str) -> str:
    """What one of the `runs` saved, in a line; `flops` are those of every run, `clock` as in `cost_table`."""
    times = told_apart([run.prefill_seconds for run in runs])
    unit, size = ("T", 1e12) if flops[0] >= 1e12 else ("G", 1e9)
    bytes_left = [runs[i].kv_bytes / 2**20 for i in (0, number)]
    parts = [
        f"{1 - flops[number] / flops[0]:.0%} of the FLOPs ({flops[0] / size:.1f} → {flops[number] / size:.1f} {unit})",
        f"{1 - bytes_left[1] / bytes_left[0]:.0%} of the KV cache ({bytes_left[0]:.1f} → {bytes_left[1]:.1f} MiB)",
    ]
    if times[number] == times[0]:
        parts.append("no time that could be told from noise")
    else:
        before, after = times[0].median, times[number].median
        about = "some " if times[number].shared else ""
        parts.append(f"{about}{1 - after / before:.0%} of the time ({before:.2f} → {after:.2f} {clock})")
    return "Saved in the prefill: " + ", ".join(parts)


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
