"""Stage II of SEATS alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seats_ops.methods.method import Protocol, register_method
from seats_ops.methods.seats import FAMILIES, family_name, staged_pruners
from seats_ops.methods.seats_by_ratio import check_names
from seats_ops.operators.stage import KeepRatio
from seats_ops.schedule import Schedule


@register_method(
    "seats-pruner",
    Protocol(
        ratio="averaged over all layers; a number is for what the model takes of video and audio",
        group="window and modality",
        score="attention of the last text token by the layer's own norm and projections on its output, mean over heads",
        kv="sliced",
        count="data",
    ),
    "SEATS (arXiv 2605.20035), section 3.2, code read at c553732",
)
def seats_pruner(
    config: Any,
    ratio: KeepRatio,
    *,
    drop_layers: Sequence[int] | None = None,
    temperature: float | None = None,
    windows: str = "layout",
) -> Schedule:
    """Stage II alone: all tokens enter the LLM, and ever more go at its drop layers.

    Args:
        config: of a whole model or its thinker.
        ratio: a mapping of video and audio, those that the model takes.
        drop_layers, temperature, windows: see `seats_ops.seats`.

    Raises:
        ValueError: a ratio below the layers before the first drop, layers out of range.
    """
    if isinstance(ratio, Mapping):
        retention = check_names(ratio)
    else:
        family = FAMILIES[family_name(config)]
        retention = {n: ratio for n, takes in (("video", family.sees_video), ("audio", family.hears)) if takes}
    return Schedule(
        after_layer=staged_pruners(
            config, retention, dict.fromkeys(retention, 1.0), drop_layers, None, temperature, windows
        )
    )
