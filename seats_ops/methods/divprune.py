"""DivPrune: the most diverse tokens of a video, whatever they matter."""

from __future__ import annotations

from seats_ops.methods.arguments import of_video
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.select import Ratio, Select
from seats_ops.operators.selectors import MaxMin
from seats_ops.operators.stage import KeepRatio
from seats_ops.schedule import Schedule

SAID = Protocol(
    ratio="share that enters the LLM; a number is for video",
    group="modality of a prompt",
    score="greedy max-min of 1 - cosine of embeddings; a token that was picked is no candidate again",
    minimum="0",
    audio="stays",
)


@register_method("divprune", SAID, "DivPrune (arXiv 2503.02175), its max-min diversity, released code")
def divprune(config: object, ratio: KeepRatio) -> Schedule:
    """round(ratio * n) tokens of a modality, each as far as can be from those before.

    Args:
        config: not looked at.
        ratio: in [0, 1]; a mapping for the modalities it names.
    """
    return Schedule(Select(None, Ratio(of_video(ratio), minimum=0), MaxMin()))
