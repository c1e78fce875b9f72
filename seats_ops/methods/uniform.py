"""Evenly spread tokens of every modality: the baseline that no selection should lose to."""

from __future__ import annotations

from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.select import Ratio, Select
from seats_ops.operators.selectors import Strided
from seats_ops.operators.stage import KeepRatio
from seats_ops.schedule import Schedule

PROTOCOL = Protocol(
    ratio="share that enters the LLM; a number is for video and audio",
    group="modality of a prompt",
    score="none; places round(i (n - 1) / (k - 1)), half to even",
    ties="-",
)


@register_method("uniform", PROTOCOL, "baseline, as VTC-Bench and UniPruneBench ask for")
def uniform(config: object, ratio: KeepRatio) -> Schedule:
    """Every so many tokens, the first and the last among them.

    Args:
        config: not looked at.
        ratio: in [0, 1]; a mapping for the modalities it names.
    """
    return Schedule(Select(None, Ratio(ratio), Strided()))
