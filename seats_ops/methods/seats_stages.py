"""Each stage of SEATS alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seats_ops.methods.arguments import num_layers
from seats_ops.methods.method import Protocol, register_method
from seats_ops.methods.seats import FAMILIES, family_name, staged_pruners
from seats_ops.methods.seats_by_ratio import check_names
from seats_ops.operators.diversity_selector import DiversitySelector
from seats_ops.operators.modality_dropper import ModalityDropper
from seats_ops.operators.stage import KeepRatio
from seats_ops.schedule import Schedule

SOURCE = "SEATS (arXiv 2605.20035), section {}, code read at c553732"
SELECTED = "attention received in the encoder times max-min cosine distance"
PRUNED = "attention of the last text token by the layer's own norm and projections on its output, mean over heads"
AVERAGED = "averaged over all layers"


@register_method(
    "seats-selector",
    Protocol(ratio="share that enters the LLM; a number is for video and audio", group="block", score=SELECTED),
    SOURCE.format("3.1"),
)
def seats_selector(config: object, ratio: KeepRatio, *, weighted: bool = True, exact_total: bool = False) -> Schedule:
    """Stage I alone: a diverse, salient subset of every block.

    Args:
        config: not looked at.
        ratio: in [0, 1]; a mapping for the modalities it names.
        weighted: False leaves saliency out.
        exact_total: see `DiversitySelector`.
    """
    return Schedule(DiversitySelector(ratio, weighted=weighted, exact_total=exact_total))


@register_method(
    "seats-pruner",
    Protocol(
        ratio=f"{AVERAGED}; a number is for what the model takes of video and audio",
        group="window and modality",
        score=PRUNED,
        kv="sliced",
        count="data",
    ),
    SOURCE.format("3.2"),
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


@register_method(
    "seats-dropper",
    Protocol(
        ratio=f"{AVERAGED}: audio and video go after layer round(ratio * layers); the paper's is 23 / 28",
        group="-",
        score="none",
        minimum="0",
        ties="-",
        kv="sliced",
    ),
    SOURCE.format("3.3"),
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
