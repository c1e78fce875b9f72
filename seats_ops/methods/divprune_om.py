"""DivPrune-om: the most diverse tokens of video and of audio, whatever they matter."""

from __future__ import annotations

from dataclasses import replace

from seats_ops.methods.divprune import SAID
from seats_ops.methods.method import register_method
from seats_ops.operators.select import Ratio, Select
from seats_ops.operators.selectors import MaxMin
from seats_ops.operators.stage import KeepRatio
from seats_ops.schedule import Schedule


@register_method(
    "divprune-om",
    replace(SAID, ratio="share that enters the LLM; a number is for video and audio", audio="as video"),
    "DivPrune (arXiv 2503.02175) on both modalities, a baseline of SEATS (arXiv 2605.20035); no code released",
)
def divprune_om(config: object, ratio: KeepRatio) -> Schedule:
    """DivPrune of video and of audio.

    Args:
        config: not looked at.
        ratio: in [0, 1]; a mapping for the modalities it names.
    """
    return Schedule(Select(None, Ratio(ratio, minimum=0), MaxMin()))
