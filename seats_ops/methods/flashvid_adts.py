"""FlashVID's selection by attention and diversity (ADTS), frame by frame, without what FlashVID merges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import TokenLayout
from seats_ops.methods import own_work
from seats_ops.methods.arguments import SEGMENTS, video_alone
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.dyseg import video_segments
from seats_ops.operators.scorers import BySaliency
from seats_ops.operators.select import Ratio, Select
from seats_ops.operators.selectors import MaxMin
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.schedule import Schedule
from seats_ops.validation import check_choice

CUT = 0.9
"""Frames less alike than this are in two segments, and there are at least so many of them."""
VARIANTS = ("v1", "v2")


@dataclass(frozen=True)
class AdtsWeight(BySaliency, Stored):
    """What distances of a token of video are multiplied by.

    Attributes:
        variant: "v1": attention. "v2": attention * x . mean of the segment's frames, which may be negative.
        reduction: of attention, see `seats_ops.Stage`.
    """

    is_scorer: ClassVar[bool] = True
    own_macs = own_work.adts_weight

    variant: str = "v2"
    reduction: str = field(default="mean", kw_only=True)

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, VARIANTS)

    def __call__(self, features: Tensor, layout: TokenLayout, *, saliency: Tensor, backend: str = "auto") -> Tensor:
        """float32 [T]."""
        weight = saliency.float()
        if self.variant == "v1":
            return weight
        for tokens, frames, lengths in video_segments("flashvid", features, layout, threshold=CUT, least=SEGMENTS):
            means = torch.cat([part.mean(0, keepdim=True).expand_as(part) for part in frames.split(lengths)])
            x = features[tokens].double().view(len(frames), -1, features.shape[1])
            relevance = (x * means[:, None]).sum(-1).flatten().float()
            weight = weight.index_copy(0, tokens, weight[tokens] * relevance)
        return weight


@register_method(
    "flashvid-adts",
    Protocol(
        "share of every frame that enters the LLM",
        "frame of a video",
        "max-min cosine distance, times attention (mean of queries) and, in v2, x . mean of the segment's frames",
        rounding="ceil",
        minimum="1 for a ratio above 0",
        audio="stays",
    ),
    "FlashVID (arXiv 2602.08024), its selection alone; code read at 1d37422 and 3efef7e. No token is picked twice",
)
def flashvid_adts(config: Any, ratio: KeepRatio, *, variant: str = "v2", reduction: str = "mean") -> Schedule:
    """Of every frame a salient and diverse set.

    Args:
        config: not looked at.
        ratio: kept share of video, a number or a mapping.
        variant: "v2", as the release's entry function has it, or "v1", as its config class has it.
        reduction: of attention in the encoder.

    Raises:
        ValueError: a ratio of something else, another variant or reduction.
    """
    budget = Ratio({"video": video_alone(ratio)}, group="frame", rounding="ceil", minimum=0)
    return Schedule(Select(AdtsWeight(variant, reduction=reduction), budget, MaxMin()))
