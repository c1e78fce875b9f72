"""What the arguments of methods have in common: ratios of video alone, a model's depth, layers that scale with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seats_ops.operators.stage import KeepRatio
from seats_ops.validation import check_ratio, describe


def of_video(ratio: KeepRatio) -> dict[str, float]:
    """A number is for video alone, a mapping for the modalities it names: how methods for vision take a ratio."""
    return dict(ratio) if isinstance(ratio, Mapping) else {"video": ratio}


def video_alone(ratio: KeepRatio) -> float:
    """A ratio of video, as a number or a mapping. ValueError: one of another modality."""
    ratios = of_video(ratio)
    if set(ratios) != {"video"}:
        raise ValueError(f"ratio: expected a number, or one for video alone, got {sorted(ratios)}")
    return check_ratio("ratio", ratios["video"])


def num_layers(config: Any) -> int:
    """Decoder layers by the config of a model, a thinker or a decoder. Raises TypeError: it does not say."""
    thinker = getattr(config, "thinker_config", config)
    layers = getattr(getattr(thinker, "text_config", thinker), "num_hidden_layers", None)
    if type(layers) is not int:
        raise TypeError(f"config: expected one of a model, with num_hidden_layers, got {type(config).__name__}")
    return layers


def chosen_layers(
    config: Any, layers: Sequence[int] | None, published: Sequence[int], num_published: int
) -> tuple[int, ...]:
    """1-based layers whose output is pruned: those given, else a paper's, scaled by depth.

    Raises:
        TypeError: not ints, a config that does not say its depth. ValueError: layers that do not ascend from 1 to below
            the number of layers.
    """
    total = num_layers(config)
    chosen = tuple(round(layer * total / num_published) for layer in published) if layers is None else tuple(layers)
    if any(type(layer) is not int for layer in chosen):
        raise TypeError(f"layers: expected ints, got {describe(chosen)}")
    if any(not a < b for a, b in zip((0, *chosen), (*chosen, total), strict=True)):
        hint = f" by scaling {tuple(published)} of {num_published} layers" if layers is None else ""
        raise ValueError(f"layers: expected ascending layers from 1 to {total - 1}, got {chosen}{hint}")
    return chosen
