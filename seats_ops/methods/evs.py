"""EVS: of every video the first frame, and of the rest what changed most against the frame before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seats_ops.layout import MediaShape, Modality, TokenLayout, group_tokens
from seats_ops.methods.arguments import video_alone
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.items import CountedVideos, shapes_of
from seats_ops.operators.own_work import nothing
from seats_ops.operators.select import Budgeted, Select
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.operators.temporal import TemporalChange
from seats_ops.schedule import Schedule
from seats_ops.validation import check_ratio

PROTOCOL = Protocol(
    ratio="1 - q, share of a video that enters the LLM",
    group="video",
    score="1 - cosine to the embedding at the same place of the frame before, in float32; the first frame before all",
    rounding="floor, of n * (1 - q) with q = 1 - ratio in floating point",
    minimum="the tokens of one frame",
    audio="stays",
)


@dataclass(frozen=True)
class VideoShare(CountedVideos, Stored):
    """Of every video max(h w, int(t h w (1 - q))) tokens.

    Attributes:
        pruning_rate: q, in [0, 1].
    """

    group: ClassVar[str] = "item"
    own_macs = nothing

    pruning_rate: float

    def __post_init__(self) -> None:
        check_ratio("pruning_rate", self.pruning_rate)

    def count_video(self, shape: MediaShape) -> tuple[int, int, int]:
        """See `CountedVideos`."""
        # As the host counts: 1000 * (1 - 0.8) is a little below 200, and 199 are kept.
        kept = max(shape.h * shape.w, int(shape.num_tokens * (1.0 - self.pruning_rate)))
        return (min(shape.num_tokens, kept),) * 3

    def __call__(self, scores: Tensor | None, layout: TokenLayout, *, backend: str = "auto") -> Budgeted:
        """One group a video; nothing is read from the device."""
        groups = group_tokens(layout, "item", [Modality.VIDEO])
        budgets = [self.count_video(shape)[0] for shape in shapes_of(groups, layout)]
        return Budgeted(groups, torch.tensor(budgets, dtype=torch.int64, device="cpu").minimum(groups.lengths))


@register_method("evs", PROTOCOL, "Efficient Video Sampling (arXiv 2510.14624), as in vLLM, code read at d750efb")
def evs(config: object, ratio: KeepRatio) -> Schedule:
    """The tokens of a video that changed most.

    Args:
        config: not looked at.
        ratio: 1 - q, q the pruning rate of vLLM.
    """
    return Schedule(Select(TemporalChange(), VideoShare(1.0 - video_alone(ratio))))
