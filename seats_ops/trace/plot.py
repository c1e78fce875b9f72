"""A trace as a figure: tokens that every layer runs on, by modality, and the keys it holds afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seats_ops.cost.counts import tokens_per_layer
from seats_ops.layout import Modality
from seats_ops.trace.prefill import Prefill
from seats_ops.validation import describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"text": "#8a97a5", "video": "#2f6db5", "audio": "#1b8a6b", "image": "#8a4fb0"}
INK = "#1f2933"


def tokens_by_layer(trace: Prefill, num_layers: int) -> dict[str, list[int]]:
    """Modality -> tokens of the prompts, then those that layers 1 to `num_layers` run on; without absent modalities."""
    found = {}
    for name in (modality.name.lower() for modality in Modality):
        before = trace.prompt_counts.get(name, 0)
        if before:
            steps = [(stage.layer, stage.counts.get(name, 0)) for stage in trace.stages]
            found[name] = [before, *tokens_per_layer(before, steps, num_layers)[:-1]]
    return found


def plot(trace: Prefill, axes: Axes | None, num_layers: int | None) -> Axes:
    """See `PruneTrace.plot`."""
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        raise ImportError("trace.plot takes the package matplotlib: pip install 'seats_ops[media]'") from error
    layers = len(trace.kv_lengths) if num_layers is None else num_layers
    _check(trace, layers)
    if axes is not None and not hasattr(axes, "stairs"):
        raise TypeError(f"axes: expected matplotlib axes or None, got {describe(axes)}")
    tokens = tokens_by_layer(trace, layers)
    if axes is None:
        axes = pyplot.subplots(figsize=(8.0, 3.6), layout="constrained")[1]
    edges = [layer - 0.5 for layer in range(layers + 2)]
    base = [0] * (layers + 1)
    for name, seen in tokens.items():
        top = [low + n for low, n in zip(base, seen, strict=True)]
        axes.stairs(top, edges, baseline=base, fill=True, color=COLOURS[name], label=name)
        base = top
    if trace.kv_lengths:
        keys = [length * len(trace.prompt_lengths) for length in trace.kv_lengths]
        axes.stairs(keys, edges[1:], baseline=None, color=INK, linewidth=1.5, label="keys held afterwards")
    _dress(axes, layers, sorted({stage.layer for stage in trace.stages}), max(base))
    return axes


def _check(trace: Prefill, layers: int) -> None:
    if not any(trace.prompt_counts.values()):
        raise ValueError("trace: expected one of a prefill, got an empty one: plot it after the model was called")
    last = max((stage.layer for stage in trace.stages), default=0)
    if type(layers) is not int or layers < max(1, last):
        raise ValueError(
            f"num_layers: expected the model's number of layers, from {max(1, last)}, got {layers!r}; a trace without "
            "a cache does not tell it"
        )


def _dress(axes: Any, layers: int, stages: list[int], most: int) -> None:
    for layer in stages:
        axes.axvline(layer + 0.5, color=INK, linewidth=0.7, linestyle=(0, (2, 3)))
    # A drop is marked by the layer before it; names that would run into each other are left out.
    kept = [0]
    for layer in [*stages, layers]:
        if layer > kept[-1] + 1:
            kept.append(layer)
    axes.set_xticks(kept, ["prompt" if layer == 0 else str(layer) for layer in kept])
    axes.set_xlim(-0.5, layers + 0.5)
    axes.set_ylim(0, most * 1.02)
    axes.set_xlabel("layer; dotted lines: stages")
    axes.set_ylabel("tokens")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=5, frameon=False)
