"""The demo's table, and the figures in it that follow from a trace or a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from seats_ops.cost import PromptLengths
from seats_ops.cost.decoder_sizes import decoder_sizes
from seats_ops.inspector.facts import layers_of
from seats_ops.trace.retention import mean_asked_of, mean_retention

from .noise import Measured, told_apart

if TYPE_CHECKING:
    from .run import Run  # loads transformers, which `inspect` needs not


def new_table(title: str, columns: list[str]) -> Table:
    """A table that fits 80 columns: its first column is text, its others are numbers."""
    table = Table(
        title=title or None,
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


def result_table(
    runs: list[Run], lengths: PromptLengths, num_layers: int, flops: dict[str, list[int]], clock: str
) -> Table:
    """What every run keeps and what that saves: the one table of the demo, 80 columns wide.

    Args:
        runs: Measured; the first one is the baseline.
        lengths: Of the prompt.
        num_layers: Of the model.
        flops: Where -> FLOPs of every run there; the last place is shown.
        clock: What the times are: "CPU s" or "s".
    """
    place, counts = list(flops.items())[-1]
    unit, size = ("TFLOPs", 1e12) if counts[0] >= 1e12 else ("GFLOPs", 1e9)
    times = prefill_times(runs)
    # Two spaces set groups of columns apart.
    heads = ["", "video\nkept", "audio\nkept", "  tokens\nleft", f"{unit}\n  {place}", "\nfewer"]
    table = new_table("", [*heads, "KV\n  MiB", "\nfewer", f"prefill\n  {clock}", "\nfaster"])
    # A long name goes on in the next line, numbers never do.
    for column in table.columns:
        column.no_wrap, column.overflow = column is not table.columns[0], "fold"
    for number, run in enumerate(runs):
        kept, left = {name: 1.0 for name in ("video", "audio") if getattr(lengths, name)}, lengths.total
        if run.trace is not None:
            kept = mean_retention(run.trace, num_layers)
            left = run.trace.stages[-1].num_tokens if run.trace.stages else left
        about = "~" if times[number].shared else ""
        seconds = times[number].median
        table.add_row(
            escape(run.name),
            *[f"{kept[name]:.1%}" if name in kept else "-" for name in ("video", "audio")],
            f"{left:,}",
            f"{counts[number] / size:,.2f}",
            _ratio(counts[0] / counts[number]),
            f"{run.kv_bytes / 2**20:,.2f}",
            _ratio(runs[0].kv_bytes / run.kv_bytes),
            about + (f"{seconds:.2f}" if seconds >= 0.1 else f"{seconds:.4f}"),
            about + _ratio(times[0].median / seconds),
        )
    return table


def _ratio(ratio: float) -> str:
    return f"{ratio:.1f}x"


def result_note(runs: list[Run], num_layers: int, clock: str) -> str:
    """What the columns of `result_table` mean, and what was asked for where that is known."""
    shared = any(time.shared for time in prefill_times(runs))
    repeats = len(runs[0].prefill_seconds)
    return (
        f"Kept: the share of these tokens that a layer sees, mean of all layers{_asked(runs, num_layers)}. Left: after "
        f"the last stage. FLOPs are computed, one per multiply-add; KV cache and {clock} (encoders included, "
        + (f"median of {repeats}) " if repeats > 1 else "once) ")
        + "are measured here."
        + " ~: not told apart from another; they share one figure." * shared
    )


def _asked(runs: list[Run], num_layers: int) -> str:
    """Of every row under the first, which has all tokens; nothing if nobody says."""
    rows = [mean_asked_of(run.trace, num_layers) for run in runs if run.trace is not None]
    said = []
    for name in ("video", "audio"):
        if any(name in row for row in rows):
            said.append(f"{name} {', '.join(f'{row[name]:.1%}' if name in row else '-' for row in rows)}")
    return f" (asked for, row by row: {'; '.join(said)})" if said else ""


def prefill_times(runs: list[Run]) -> list[Measured]:
    """Of every run, those that cannot be told apart with one figure; SEATS runs keep ever less, others may not."""
    falling = all(run.retention is not None for run in runs)
    return told_apart([run.prefill_seconds for run in runs], falling=falling)


def saved(runs: list[Run], number: int, flops: list[int], clock: str) -> str:
    """What one of the `runs` saved, in a line; `flops` are those of every run, `clock` as in `result_table`."""
    times = prefill_times(runs)
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
        spent = f"{1 - after / before:.0%} of the time" if after < before else f"no time: {after / before - 1:.0%} more"
        parts.append(f"{about}{spent} ({before:.2f} → {after:.2f} {clock})")
    return "Saved in the prefill: " + ", ".join(parts)


def stage_title(layer: int) -> str:
    """Column title of a stage."""
    return f"after\nlayer {layer}" if layer else "before\nlayer 1"


def layer_flops(config: Any, runs: list[Run], prompt_tokens: int) -> list[int]:
    """FLOPs of the decoder layers alone, one per multiply-add: what the measured forward computes but for one logit."""
    decoder = decoder_sizes(config)
    found = []
    for run in runs:
        seen = [prompt_tokens] * decoder.layers if run.trace is None else layers_of(run.trace, 0, decoder.layers)
        found.append(sum(decoder.macs_per_layer(seen)))
    return found


def paper_flops(config: Any, runs: list[Run], prompt_tokens: int) -> list[int]:
    """FLOPs as the paper counts them: decoder layers and logits of every token that is left."""
    decoder = decoder_sizes(config)
    stages = [run.trace.stages if run.trace is not None else [] for run in runs]
    left = [found[-1].num_tokens if found else prompt_tokens for found in stages]
    layers = layer_flops(config, runs, prompt_tokens)
    return [flops + decoder.hidden * decoder.vocab * tokens for flops, tokens in zip(layers, left, strict=True)]
