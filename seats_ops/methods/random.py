"""Random tokens of every modality: the baseline without any idea of which matter."""

from __future__ import annotations

from collections.abc import Mapping

from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.modality_dropper import ModalityDropper
from seats_ops.operators.select import Ratio, Select
from seats_ops.operators.selectors import RandomK
from seats_ops.operators.stage import BUDGETED, KeepRatio, Stage
from seats_ops.schedule import Schedule
from seats_ops.validation import check_keep_ratio

PROTOCOL = Protocol(
    ratio="share that enters the LLM; a number is for video and audio",
    group="modality of a prompt",
    score="none",
    rounding="floor",
    minimum="1, or none for a ratio of 0",
    ties="-",
    chance="seeded, a generator for every prompt",
)


@register_method("random", PROTOCOL, "baseline of SEATS (arXiv 2605.20035), code read at c553732")
def random(config: object, ratio: KeepRatio, *, seed: int = 0) -> Schedule:
    """The first int(ratio * n) tokens of a permutation of every modality's n, in their order.

    Args:
        config: not looked at.
        ratio: in [0, 1]; a mapping for the modalities it names.
        seed: every prompt draws from a generator of its own with this seed.
    """
    ratios = ratio if isinstance(ratio, Mapping) else dict.fromkeys(BUDGETED, ratio)
    some = {name: share for name, share in ratios.items() if share > 0}
    none = tuple(name for name, share in ratios.items() if share == 0)
    stages: list[Stage] = []
    if some:
        shared = check_keep_ratio("ratio", some, ("video", "audio", "image"))
        stages.append(Select(None, Ratio(shared, rounding="floor"), RandomK(seed)))
    return Schedule([*stages, ModalityDropper(none)] if none else stages)
