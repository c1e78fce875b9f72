"""FastVID: segments of like frames; the salient tokens of every frame, and anchors into which a segment is merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import MediaShape, Modality, TokenLayout, group_tokens
from seats_ops.methods import own_work
from seats_ops.methods.arguments import video_alone
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.anchor_merges import mean_merge
from seats_ops.operators.anchors import nearest_of
from seats_ops.operators.dyseg import dyseg, frame_similarity
from seats_ops.operators.items import CountedVideos, whole_items
from seats_ops.operators.peaks import salient_and_peaks
from seats_ops.operators.scorers import BySaliency
from seats_ops.operators.segment_plan import collapsed_plan, even_plan, segment_members
from seats_ops.operators.selection import Selection
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.schedule import Schedule
from seats_ops.validation import check_choice, check_int, check_ratio

RELEASES = ("llava", "qwen")


@dataclass(frozen=True)
class SegmentAnchors(BySaliency, CountedVideos, Stored):
    """Keeps salient tokens of every frame and, in every few frames of a segment, anchors; merges the rest into anchors.

    Every anchor frame takes in all tokens of its segment that are not salient, each to its nearest anchor there, so
    that a token is merged as often as its segment has anchor frames: anchor' = a * anchor + (1 - a) * mean of its n
    members, a = max(1 / (n + 1), beta).

    Attributes:
        keep_ratio: share of every frame's tokens.
        release: "llava": every frame keeps salient tokens, anchors are members of their own frame. "qwen": of frames in
            a row that look alike by `ignore`, only the last one keeps any, a segment keeps at least one anchor, and
            anchors are no members of their own frame.
        threshold, segments: see `dyseg`.
        context: share of the budget that goes to anchors.
        every: anchor frames are this far apart, counted from a segment's end.
        beta: least part of itself that an anchor keeps.
        ignore: similarity from which frames in a row are one; for "qwen".
        reduction: of saliency, see `seats_ops.Stage`.
    """

    merges: ClassVar[bool] = True
    count_kind: ClassVar[str] = "data"
    own_macs = own_work.segment_anchors

    keep_ratio: float
    release: str = field(default="qwen", kw_only=True)
    threshold: float = field(default=0.84, kw_only=True)
    segments: int = field(default=8, kw_only=True)
    context: float = field(default=0.4, kw_only=True)
    every: int = field(default=4, kw_only=True)
    beta: float = field(default=0.6, kw_only=True)
    ignore: float = field(default=0.95, kw_only=True)
    reduction: str = field(default="pooled", kw_only=True)

    def __post_init__(self) -> None:
        for name in ("keep_ratio", "context", "beta"):
            check_ratio(name, getattr(self, name))
        check_choice("release", self.release, RELEASES)
        check_int("segments", self.segments, 1)
        check_int("every", self.every, 1)

    def __call__(self, features: Tensor, layout: TokenLayout, *, saliency: Tensor, backend: str = "auto") -> Selection:
        """See `Stage`; features [T, D], saliency [T]."""
        items, device = whole_items(type(self).__name__, layout), features.device
        plans = []
        for item in items:
            x = features[item.tokens.to(device, non_blocking=True)].view(item.shape.t, item.grid, -1)
            similarity = frame_similarity(x.mean(1, dtype=torch.float64)).cpu()
            cut = dyseg(similarity, threshold=self.threshold, least=self.segments)
            budget, shares = int(item.grid * self.keep_ratio), (self.context, self.every)
            if self.release == "llava":
                plans.append(even_plan(cut, item.grid, max(budget, 1), *shares))
            else:
                alike = (similarity >= self.ignore).tolist()
                plans.append(collapsed_plan(cut, item.grid, budget, *shares, alike))
        frames = group_tokens(layout, "frame", [Modality.VIDEO])
        salient, anchors = (
            torch.tensor([n for plan in plans for n in plan[part]], dtype=torch.int64, device="cpu") for part in (1, 2)
        )
        kept, peaks = salient_and_peaks(
            features, frames, saliency, salient, anchors, torch.full_like(anchors, 4), backend=backend
        )
        ids = frames.ids.to(device, non_blocking=True)
        at = peaks.nonzero().squeeze(1)
        segments = [n for plan in plans for n in plan.segments]
        tokens, groups = (part.to(device, non_blocking=True) for part in segment_members(frames, segments, anchors))
        left = ~kept[tokens]
        member, anchor, _ = nearest_of(features, (tokens[left], groups[left]), (at, ids[at]), eps=1e-12)
        if self.release == "qwen":
            others = ~(peaks[member] & (ids[member] == ids[anchor]))
            member, anchor = member[others], anchor[others]
        own = (1.0 / (torch.bincount(anchor, minlength=len(ids)) + 1.0)).clamp(min=self.beta)
        return Selection(kept | peaks, merge=mean_merge(member, anchor, peaks, own, 1.0 - own))

    def count_video(self, shape: MediaShape) -> tuple[int, int, int]:
        """See `CountedVideos`; what does not divide is only ever taken away, and a segment keeps one token at least."""
        budget = max(int(shape.h * shape.w * self.keep_ratio), 1)
        salient = budget - int(budget * self.context)
        least = shape.t * salient if self.release == "llava" else min(self.segments, shape.t)
        return shape.t * budget, least, shape.t * budget


@register_method(
    "fastvid",
    Protocol(
        ratio="share of a video's tokens that enters the LLM, before rounding and alike frames",
        group="a frame for salient tokens, a segment of frames (DySeg) for anchors",
        rounding="floor, of the budget and of its context part, the rest is salient",
        minimum="1 a frame (qwen: 1 a segment)",
        score="attention received in the encoder, pooled query (llava: mean over queries, the class token's in the "
        "code), anchors: density peaks, k = 4, of the tokens not salient, without the noise of the code",
        merge="to the nearest anchor of every anchor frame of the segment, anchor' = a anchor + (1 - a) mean",
        row_sum="1",
        audio="stays",
        count="data",
    ),
    "FastVID, arXiv 2503.11187, section 3; code read at LunarShen/FastVID a40a109; frames are compared by the mean of "
    "their tokens (llava: the encoder's pooled feature in the code)",
)
def fastvid(config: Any, ratio: KeepRatio, *, release: str = "qwen", reduction: str | None = None) -> Schedule:
    """FastVID of every video.

    Args:
        config: not looked at.
        ratio: of videos, a number or a mapping; audio and images stay.
        release: "qwen" (threshold 0.84) or "llava" (0.9), see `SegmentAnchors`.
        reduction: of saliency; None: "pooled", for "llava" "mean".

    Raises:
        ValueError: an unknown release or reduction.
    """
    threshold, saliency = (0.9, "mean") if release == "llava" else (0.84, "pooled")
    chosen, share = saliency if reduction is None else reduction, video_alone(ratio)
    return Schedule(SegmentAnchors(share, release=release, threshold=threshold, reduction=chosen))
