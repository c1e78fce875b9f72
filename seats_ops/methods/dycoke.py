"""DyCoke, stage 1: of groups of four frames the first one whole, and what differs most of the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from seats_ops.layout import MediaShape, Modality, TokenLayout, group_tokens, partners
from seats_ops.methods.arguments import video_alone
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.items import CountedVideos, shapes_of
from seats_ops.operators.own_work import of_steps
from seats_ops.operators.selection import Selection
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.ops.temporal_similarity.api import temporal_similarity
from seats_ops.schedule import Schedule
from seats_ops.validation import check_choice, check_ratio

ORDERS = ("ascending", "release")
LEAST_FRAMES = 5
PROTOCOL = Protocol(
    ratio="1 - k, share that a reduced frame keeps; a video of many frames keeps (1 + 3 ratio) / 4 before the LLM",
    group="frame; a last frame of an odd number goes; videos of fewer than 5 frames are refused",
    score="cosine to the embedding at the same place: of an odd frame to the frame before, of the third of four to the "
    "first; lowest kept",
    rounding="floor",
    minimum="0",
    order="ascending; release: in a reduced frame by ascending cosine",
    audio="stays",
)


@dataclass(frozen=True)
class TemporalMerging(CountedVideos, Stored):
    """Keeps int((1 - k) h w) tokens of a reduced frame, those least like an earlier frame.

    Attributes:
        merging_ratio: k, in [0, 1].
        order: "ascending", or "release": tokens of a reduced frame go on by ascending cosine.
    """

    inputs: ClassVar[tuple[str, ...]] = ("features", "grid")
    count_kind: ClassVar[str] = "shape"
    own_macs = of_steps

    merging_ratio: float
    order: str = field(default="ascending", kw_only=True)

    def __post_init__(self) -> None:
        check_ratio("merging_ratio", self.merging_ratio)
        check_choice("order", self.order, ORDERS)

    def budgets(self, shape: MediaShape) -> list[int]:
        """Tokens that every frame of a video keeps."""
        if shape.t < LEAST_FRAMES:
            raise ValueError(f"video: expected at least {LEAST_FRAMES} frames for DyCoke, got {shape.t}")
        whole = shape.h * shape.w
        few = int((1.0 - self.merging_ratio) * whole)
        kept = [few if _is_reduced(t, shape.t) else whole for t in range(shape.t)]
        return [*kept[:-1], 0] if shape.t % 2 else kept

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Selection:
        """Features [T, D]; ValueError for a video of fewer than five frames."""
        groups, plan = group_tokens(layout, "frame", [Modality.VIDEO]), layout.plan()
        assert plan.grid is not None  # else there are no frames to group by
        index, offsets = groups.packed()
        times = plan.grid[index[offsets[:-1].long()], 1].tolist()
        frames = list(zip(shapes_of(groups, plan), times, strict=True))
        kept = [self.budgets(shape)[t] for shape, t in frames]
        budgets = torch.tensor(kept, dtype=torch.int64, device="cpu")
        partner = torch.where(plan.grid[:, 1] % 2 == 1, partners(layout, -1), partners(layout, -2))
        device = features.device
        cosine = temporal_similarity(features, partner.to(device), backend=backend)
        keep_mask = segment_topk(-cosine, groups.ids.to(device), budgets.to(device), backend=backend)
        if self.order == "ascending":
            return Selection(keep_mask)
        few = [_is_reduced(t, shape.t) for shape, t in frames]
        reduced = torch.zeros(len(plan), dtype=torch.bool, device="cpu")
        reduced[index] = torch.tensor(few, dtype=torch.bool, device="cpu").repeat_interleave(groups.lengths)
        return Selection(keep_mask, order=_reordered(keep_mask, reduced.to(device), groups.ids.to(device), cosine))

    def count_video(self, shape: MediaShape) -> tuple[int, int, int]:
        """See `CountedVideos`."""
        return (sum(self.budgets(shape)),) * 3


def _is_reduced(t: int, frames: int) -> bool:
    """Of four frames the last three are, but the third only where four more follow its first one."""
    return t % 2 == 1 or (t % 4 == 2 and t - 2 < frames - 4)


def _reordered(keep_mask: Tensor, reduced: Tensor, frame: Tensor, cosine: Tensor) -> Tensor:
    """int64 [K] kept tokens; those of a reduced frame share its places by ascending cosine."""
    order = keep_mask.nonzero().squeeze(1)
    places = reduced[order].nonzero().squeeze(1)
    places = places[frame[order[places]].argsort(stable=True)]
    mine = order[places]
    mine = mine[cosine[mine].argsort(stable=True)]
    return order.index_copy(0, places, mine[frame[mine].argsort(stable=True)])


@register_method(
    "dycoke", PROTOCOL, "DyCoke (arXiv 2411.15024), its first stage, temporal token merging, code read at dd74634"
)
def dycoke(config: object, ratio: KeepRatio, *, order: str = "ascending") -> Schedule:
    """Token merging of DyCoke, which prunes; its second stage, while decoding, is no part of this.

    Args:
        config: not looked at.
        ratio: 1 - k, k the merging ratio of the release (0.7 in its examples).
        order: "ascending" or "release", see `TemporalMerging`.
    """
    return Schedule(TemporalMerging(1.0 - video_alone(ratio), order=order))
