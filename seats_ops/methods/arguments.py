"""What the arguments of methods have in common: ratios of video alone, a model's depth, layers that scale with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seats_ops.operators.stage import KeepRatio
from seats_ops.validation import check_int, check_ratio, describe

AUDIO_WINDOW = 50
"""Tokens of sound that methods made for frames take as one: two seconds at 25 a second, whatever the rate is."""
SEGMENTS = 8
"""FlashVID cuts a video into this many at least."""


def of_video(ratio: KeepRatio) -> dict[str, float]:
    """A number is for video alone, a mapping for the modalities it names: how methods for vision take a ratio."""
    return dict(ratio) if isinstance(ratio, Mapping) else {"video": ratio}


def video_alone(ratio: KeepRatio) -> float:
    """A ratio of video, as a number or a mapping. ValueError: one of another modality."""
    ratios = of_video(ratio)
    if set(ratios) != {"video"}:
        raise ValueError(f"ratio: expected a number, or one for video alone, got {sorted(ratios)}")
    return check_ratio("ratio", ratios["video"])


def decoder_config(config: Any) -> Any:
    """That of the decoder by the config of a model or a thinker; Phi-4's is that of the model itself."""
    thinker = getattr(config, "thinker_config", config)
    return getattr(thinker, "text_config", thinker)


def num_layers(config: Any) -> int:
    """Decoder layers by the config of a model, a thinker or a decoder. Raises TypeError: it does not say."""
    layers = getattr(decoder_config(config), "num_hidden_layers", None)
    if type(layers) is not int:
        raise TypeError(f"config: expected one of a model, with num_hidden_layers, got {type(config).__name__}")
    return layers


def layers_beyond(config: Any, layer: int) -> int:
    """Decoder layers of a model. Raises TypeError, ValueError: none comes after `layer` (1-based)."""
    total = num_layers(config)
    check_int("layer", layer, 1, total - 1)
    return total


def later_shares(ratios: Mapping[str, float], layer: int, total: int) -> dict[str, float]:
    """Shares by modality kept after a layer, for those averaged over `total` layers. ValueError: out of reach."""
    later = {name: (check_ratio(name, share) * total - layer) / (total - layer) for name, share in ratios.items()}
    for name, share in later.items():
        if share < 0:
            seen = f"{layer} / {total}, layers that see all tokens"
            raise ValueError(f"{name}: expected at least {seen}, got {ratios[name]}")
    return later


def chosen_layers(
    config: Any, layers: Sequence[int] | None, published: Sequence[int], num_published: int, name: str = "layers"
) -> tuple[int, ...]:
    """1-based layers whose output is pruned: those given as the argument `name`, else a paper's, scaled by depth.

    Raises:
        TypeError: not ints, a config that does not say its depth. ValueError: layers that do not ascend from 1 to below
            the number of layers.
    """
    total = num_layers(config)
    if layers is not None and not isinstance(layers, Sequence):
        raise TypeError(f"{name}: expected a sequence of ints, got {describe(layers)}")
    chosen = tuple(round(layer * total / num_published) for layer in published) if layers is None else tuple(layers)
    if any(type(layer) is not int for layer in chosen):
        raise TypeError(f"{name}: expected ints, got {describe(chosen)}")
    if any(not a < b for a, b in zip((0, *chosen), (*chosen, total), strict=True)):
        hint = f" by scaling {tuple(published)} of {num_published} layers" if layers is None else ""
        raise ValueError(f"{name}: expected ascending layers from 1 to {total - 1}, got {chosen}{hint}")
    return chosen


def layers_before(
    late: int | None, given: Sequence[int] | None, scaled: Sequence[int], num_layers: int
) -> tuple[int, ...]:
    """Drop layers of SEATS, ascending: those given, else a family's, scaled by depth.

    Raises:
        TypeError: not ints. ValueError: a late layer there is not, drops that repeat or are not before it.
    """
    if late is not None:
        if isinstance(late, bool) or not isinstance(late, int):
            raise TypeError(f"late_layer: expected an int or None, got {describe(late)}")
        if not 2 <= late <= num_layers:
            raise ValueError(f"late_layer: expected 2 to {num_layers}, the number of layers, got {late}")
    if given is not None and not isinstance(given, Iterable):
        raise TypeError(f"drop_layers: expected a sequence of ints, got {describe(given)}")
    drops = tuple(scaled if given is None else given)
    if any(type(layer) is not int for layer in drops):
        raise TypeError(f"drop_layers: expected a sequence of ints, got {describe(drops)}")
    drops = tuple(sorted(drops))
    hint = "" if given is not None else f" by scaling the family's layers to {num_layers}; give drop_layers"
    if len(set(drops)) != len(drops):
        raise ValueError(f"drop_layers: expected distinct layers, got {drops}{hint}")
    # The late drop acts on the output of layer late - 1, so a drop there would have no layer of its own.
    end = num_layers if late is None else late - 1
    if drops and not 1 <= drops[0] <= drops[-1] < end:
        what = "the number of layers" if late is None else f"the layer before late_layer {late}"
        raise ValueError(f"drop_layers: expected layers from 1 to below {end}, {what}, got {drops}{hint}")
    return drops
