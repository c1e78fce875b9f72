"""FastV: after an early layer, the tokens of video that the end of the prompt attends to most."""

from __future__ import annotations

from typing import Any

from seats_ops.methods.arguments import later_shares, layers_beyond, of_video
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.audio_intact import AudioIntact, AudioOrder
from seats_ops.operators.scorers import Relevance
from seats_ops.operators.select import Ratio, Select
from seats_ops.operators.selectors import TopK
from seats_ops.operators.stage import BUDGETED, KeepRatio
from seats_ops.schedule import Schedule

FASTV = "FastV (arXiv 2403.06764), code read at d165972; as compared with in SEATS (arXiv 2605.20035), c553732"


@register_method(
    "fastv",
    Protocol(
        ratio="variant seats: averaged over all layers; original: kept after the layer; a number is for video",
        group="modality of a prompt",
        score="seats: attention of the last text token by the layer's own norm and projections on its output, all keys "
        "seen; original: the layer's attention as it ran, last row; mean over heads",
        kv="sliced",
        audio="stays; seats, with a ratio: random tokens of it go where the video cannot give enough",
        minimum="1; seats with a ratio for audio: 1 also where the video's share is below what the first layers see",
        chance="deterministic; seeded where audio goes",
    ),
    FASTV,
)
def fastv(config: Any, ratio: KeepRatio, *, layer: int = 2, variant: str = "seats") -> Schedule:
    """The video tokens that the last text token attends to most.

    Args:
        config: says how many layers there are.
        ratio: see the protocol line. A mapping with audio says how many tokens are to go together: audio stays whole
            while the video can give them.
        layer: 1-based, after which tokens go.
        variant: "seats", FastV as SEATS compares with it, or "original".

    Raises:
        ValueError: a ratio below the layers before the drop, a layer there is not, another variant.
    """
    total, ratios = layers_beyond(config, layer), of_video(ratio)
    if variant == "original":
        return Schedule(after_layer={layer: Select(Relevance(weights="attention"), Ratio(ratios))})
    if variant != "seats":
        raise ValueError(f"variant: expected seats or original, got {variant!r}")
    later = later_shares(ratios, layer, total)
    if "audio" not in ratios:
        return Schedule(after_layer={layer: Select(Relevance(), Ratio(later))})
    if set(ratios) != set(BUDGETED):
        raise ValueError(f"ratio: expected one for audio together with one for video alone, got {sorted(ratios)}")
    budget = AudioIntact(ratios["video"], ratios["audio"], layer, total)
    return Schedule(after_layer={layer: Select(AudioOrder(), budget, TopK())})
