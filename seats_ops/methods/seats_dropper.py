"""Stage III of SEATS alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seats_ops.methods.arguments import num_layers
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.modality_dropper import ModalityDropper
from seats_ops.schedule import Schedule


@register_method(
    "seats-dropper",
    Protocol(
        ratio="averaged over all layers: audio and video go after layer round(ratio * layers); the paper's is 23 / 28",
        group="-",
        score="none",
        minimum="0",
        ties="-",
        kv="sliced",
    ),
    "SEATS (arXiv 2605.20035), section 3.3, code read at c553732",
)
def seats_dropper(config: Any, ratio: float) -> Schedule:
    """Stage III alone: all audio and video go at once, late.

    Args:
        config: says how many layers there are.
        ratio: share of the layers that see audio and video; 1 drops nothing.

    Raises:
        TypeError: a mapping. ValueError: a ratio of no layer.
    """
    total = num_layers(config)
    if isinstance(ratio, Mapping):
        raise TypeError(f"ratio: expected a number, as both modalities go at one layer, got {dict(ratio)}")
    layer = round(ratio * total)
    if layer < 1:
        raise ValueError(f"ratio: expected at least 1 / {total}, one layer that sees audio and video, got {ratio}")
    return Schedule(after_layer={layer: ModalityDropper()} if layer < total else {})
