"""FastV-om: after an early layer, the tokens of every modality that the end of the prompt attends to most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seats_ops.methods.arguments import later_shares, layers_beyond
from seats_ops.methods.fastv import FASTV
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.scorers import Relevance
from seats_ops.operators.select import Ratio, Select
from seats_ops.operators.stage import BUDGETED, KeepRatio
from seats_ops.schedule import Schedule


@register_method(
    "fastv-om",
    Protocol(
        ratio="averaged over all layers; a number is for video and audio",
        group="modality of a prompt",
        score="attention of the last text token by the layer's own norm and projections on its output, all keys seen, "
        "mean over heads",
        kv="sliced",
    ),
    FASTV,
)
def fastv_om(config: Any, ratio: KeepRatio, *, layer: int = 2) -> Schedule:
    """The tokens of every modality that the last text token attends to most.

    Args:
        config: says how many layers there are.
        ratio: a mapping for the modalities it names.
        layer: 1-based, after which tokens go.

    Raises:
        ValueError: a ratio below the layers before the drop, a layer there is not.
    """
    ratios = ratio if isinstance(ratio, Mapping) else dict.fromkeys(BUDGETED, ratio)
    later = later_shares(ratios, layer, layers_beyond(config, layer))
    return Schedule(after_layer={layer: Select(Relevance(), Ratio(later))})
