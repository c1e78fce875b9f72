"""VidCom2: of every frame the tokens least like the video and the frame, more of them from frames that stand out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import MediaShape, TokenLayout
from seats_ops.methods.arguments import video_alone
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.items import CountedVideos, Item, whole_items
from seats_ops.operators.own_work import of_video
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.schedule import Schedule
from seats_ops.validation import check_choice, check_ratio

VARIANTS = ("reference", "reconciled")


def _kernel(x: Tensor, centre: Tensor) -> Tensor:
    """Sum of Gaussians of five widths of the distance to a centre."""
    squared = (x - centre).square().sum(-1)
    return sum((-squared / (2.0 * 2.0**e)).exp() for e in range(-3, 2))  # type: ignore[return-value]


@dataclass(frozen=True)
class UncommonTokens(CountedVideos, Stored):
    """Keeps of every frame of a video those tokens whose likeness to the mean of the video and of the frame is least.

    Likeness is a sum of Gaussian kernels on the half of the channels that vary least over the video, normalised. Frames
    share the budget by a softmax of how little they look like the video.

    Attributes:
        keep_ratio: share of every video's tokens.
        variant: "reference" keeps max(1, round(its share)) of every frame, whatever they add up to; "reconciled", as
            vLLM has it, takes away the most common tokens of a video or adds the least common ones, until
            max(frames, int(tokens * keep_ratio)) are left.
        temperature: of the softmax.
    """

    inputs: ClassVar[tuple[str, ...]] = ("features", "grid")
    own_macs = of_video  # half of the channels, twice

    keep_ratio: float
    variant: str = field(default="reference", kw_only=True)
    temperature: float = field(default=0.01, kw_only=True)

    def __post_init__(self) -> None:
        check_ratio("keep_ratio", self.keep_ratio)
        check_choice("variant", self.variant, VARIANTS)

    @property
    def count_kind(self) -> str:
        """The reference's sum depends on the data."""
        return "data" if self.variant == "reference" else "reconciled"

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        """bool [T] keep mask; features [T, D]."""
        keep_mask = torch.ones(len(layout), dtype=torch.bool, device=features.device)
        for item in whole_items(type(self).__name__, layout):
            index = item.tokens.to(features.device, non_blocking=True)
            # Scores are rounded from float64: what is equally common ties.
            keep_mask[index] = self._kept(features[index].double(), item, backend)
        return keep_mask

    def _kept(self, x: Tensor, item: Item, backend: str) -> Tensor:
        """bool [F * P] of a video's features."""
        frames, grid = item.shape.t, item.grid
        calm = x.var(0, correction=0).float().argsort(stable=True)[: max(1, x.shape[1] // 2)]
        x = torch.nn.functional.normalize(x[:, calm.sort().values], dim=-1)
        to_video = _kernel(x, x.mean(0))
        x = x.view(frames, grid, -1)
        common = (to_video + _kernel(x, x.mean(1, keepdim=True)).flatten()).float()
        standing = -to_video.view(frames, grid).mean(1)
        # A softmax has a mean of 1 / F: exact where all frames are alike.
        share = ((standing - standing.max()) / self.temperature).softmax(0) - 1.0 / frames
        budget = ((self.keep_ratio * (1.0 + share)).clamp(max=1.0) * grid).round().long().clamp(1, grid)
        frame = torch.arange(frames, dtype=torch.int64, device=x.device).repeat_interleave(grid)
        kept = segment_topk(-common, frame, budget, backend=backend)
        if self.variant == "reference":
            return kept
        # The least common of what is kept, then of the rest.
        target = torch.tensor(self._target(frames * grid, frames), dtype=torch.int64, device=x.device)
        found = kept.sum()
        parts = torch.stack([torch.minimum(found, target), (target - found).clamp(min=0)])
        return segment_topk(-common, (~kept).long(), parts, backend=backend)

    def _target(self, tokens: int, frames: int) -> int:
        # Written with the share that is pruned, as vLLM counts placeholders before anything runs.
        return max(frames, min(tokens, int(tokens * (1.0 - (1.0 - self.keep_ratio)))))

    def count_video(self, shape: MediaShape) -> tuple[int, int, int]:
        """See `CountedVideos`; a frame's share may be 1 / F below the mean of a softmax, or 1 - 1 / F above it."""
        if self.variant == "reconciled":
            return (self._target(shape.num_tokens, shape.t),) * 3
        shares = (self.keep_ratio * (1.0 + by) for by in (0.0, -1.0 / shape.t, 1.0 - 1.0 / shape.t))
        said, least, most = (shape.t * max(1, round(min(1.0, share) * shape.h * shape.w)) for share in shares)
        return said, least, most


@register_method(
    "vidcom2",
    Protocol(
        ratio="share of a video's tokens that enters the LLM, before rounding",
        group="a frame, which share the budget of a video by a softmax of their strangeness, temperature 0.01",
        rounding="round, half to even (reconciled: then to int(tokens * ratio) in all)",
        minimum="1 a frame (reconciled: as many in all as there are frames)",
        score="least of five Gaussian kernels to the means of video and frame, over the calmest half of the channels",
        audio="stays",
        count="data; reconciled: reconciled",
    ),
    "VidCom2, arXiv 2505.14454, section 3; code read at xuyang-liu16/VidCom2 944a17d and vLLM 0f17ee0",
)
def vidcom2(config: Any, ratio: KeepRatio, *, variant: str = "reference") -> Schedule:
    """VidCom2 of every video.

    Args:
        config: not looked at.
        ratio: of videos, a number or a mapping; audio and images stay.
        variant: "reference", or "reconciled" to the exact count that vLLM promises.

    Raises:
        ValueError: an unknown variant.
    """
    return Schedule(UncommonTokens(video_alone(ratio), variant=variant))
