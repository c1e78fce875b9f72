"""FastVID: segments of like frames; the salient tokens of every frame, and anchors into which a segment is merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, group_tokens
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.anchors import mean_merge
from seats_ops.operators.dyseg import dyseg, frame_similarity
from seats_ops.operators.items import found_shapes, whole_items
from seats_ops.operators.scorers import Saliency
from seats_ops.operators.selection import Merge, Selection
from seats_ops.operators.stored import Stored
from seats_ops.ops.dpc_knn.api import dpc_knn
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.schedule import Schedule
from seats_ops.validation import check_ratio

RELEASES = ("llava", "qwen")


class _Plan(NamedTuple):
    """Lengths of a video's segments, and how many tokens of every frame are salient and anchors."""

    segments: list[int]
    salient: list[int]
    anchors: list[int]


def _spread(total: int, parts: int) -> list[int]:
    return [total // parts + (i < total % parts) for i in range(parts)]


@dataclass(frozen=True)
class SegmentAnchors(Stored):
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
        if self.release not in RELEASES:
            raise ValueError(f"release: expected one of {RELEASES}, got {self.release!r}")
        for name in ("segments", "every"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name}: expected an int from 1, got {getattr(self, name)!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Features are compared and merged."""
        return ("features", *Saliency(self.reduction).inputs, "grid")

    def __call__(self, features: Tensor, layout: TokenLayout, *, saliency: Tensor, backend: str = "auto") -> Selection:
        """See `Stage`; features [T, D], saliency [T]."""
        items, device = whole_items(type(self).__name__, layout), features.device
        plans = []
        for item in items:
            x = features[item.tokens.to(device, non_blocking=True)].view(item.shape.t, item.grid, -1)
            similarity = frame_similarity(x.mean(1, dtype=torch.float64)).cpu()
            plans.append(self._plan(similarity, item.shape.t, item.grid))
        frames = group_tokens(layout, "frame", [Modality.VIDEO])
        ids, index = frames.ids.to(device, non_blocking=True), frames.packed()[0]
        salient, anchors = (
            torch.tensor([n for plan in plans for n in getattr(plan, name)], dtype=torch.int64).to(device)
            for name in ("salient", "anchors")
        )
        kept = segment_topk(saliency.float(), ids, salient, backend=backend)
        index = index.to(device, non_blocking=True)
        rest = index[~kept[index]]
        counts = frames.lengths.to(device) - salient
        offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        longest = int(frames.lengths.max()) if len(frames) else 0
        scores = torch.zeros(len(layout), dtype=torch.float32, device=device)
        found = dpc_knn(features, offsets, num_neighbors=4, index=rest, max_seqlen=longest, backend=backend)
        scores[rest] = found
        peaks = segment_topk(scores, torch.where(kept, -1, ids), anchors, backend=backend) & ~kept
        parts = []
        for item, plan in zip(items, plans, strict=True):
            tokens = item.tokens.to(device, non_blocking=True)
            for length, end in zip(plan.segments, accumulate(plan.segments), strict=True):
                mine = tokens[(end - length) * item.grid : end * item.grid]
                wanted = [n for n in plan.anchors[end - length : end] if n]
                parts.append(self._merged(features, mine[~kept[mine]], mine[peaks[mine]], wanted, ids, peaks))
        merge = Merge(*(torch.cat(part) for part in zip(*parts, strict=True))) if parts else None
        return Selection(kept | peaks, merge=merge)

    def _plan(self, similarity: Tensor, frames: int, grid: int) -> _Plan:
        segments = dyseg(similarity, threshold=self.threshold, least=self.segments)
        budget = int(grid * self.keep_ratio)
        salient: list[int] = []
        anchors: list[int] = []
        for length in segments:
            if self.release == "llava":
                context = int(max(budget, 1) * self.context)
                each = context * length // -(-length // self.every)
                salient += [max(budget, 1) - context] * length
                anchors += [min(each, grid - salient[-1]) * ((length - 1 - i) % self.every == 0) for i in range(length)]
                continue
            of = similarity[len(salient) : len(salient) + length - 1].tolist()
            # Frames that keep something: the last one of each run of frames alike.
            valid = [i for i in range(length) if i == length - 1 or of[i] < self.ignore]
            context = max(int(budget * length * self.context), 1)
            counts = iter(_spread(context, -(-len(valid) // self.every)))
            some = [next(counts) if i % self.every == 0 else 0 for i in range(len(valid))][::-1]
            if length > 1:
                some = [min(n, max(grid // 2, 1)) for n in some]
            most = _spread(max(budget * length - context, 0), len(valid))
            for i in range(length):
                at = valid.index(i) if i in valid else None
                anchors.append(0 if at is None else some[at])
                salient.append(0 if at is None else min(most[at], grid - some[at]))
        return _Plan(segments, salient, anchors)

    def _merged(
        self, features: Tensor, members: Tensor, anchors: Tensor, wanted: list[int], ids: Tensor, peaks: Tensor
    ) -> Merge:
        """Of one segment; `wanted` anchors in each of its anchor frames."""
        x, a = (torch.nn.functional.normalize(features[i].float(), dim=-1).double() for i in (members, anchors))
        # Rounded from float64, so that equal anchors tie.
        near = (x @ a.T).float().split(wanted, 1)
        best = [part.argmax(1) + sum(wanted[:i]) for i, part in enumerate(near)]
        chosen = anchors[torch.stack(best)] if best else anchors.new_zeros(0, len(members))
        member = members.expand(len(best), -1)
        if self.release == "qwen":
            others = ~(peaks[member] & (ids[member] == ids[chosen]))
            member, chosen = member[others], chosen[others]
        count = torch.bincount(chosen.flatten(), minlength=len(ids))
        own = (1.0 / (count + 1.0)).clamp(min=self.beta)
        return mean_merge(member.flatten(), chosen.flatten(), peaks & (count > 0), own, 1.0 - own)

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`: as if no frames were alike, in segments of `every` frames."""
        shapes = found_shapes(type(self).__name__, found, Modality.VIDEO)
        low, high = self._bounds(found)
        said = sum(shape.t * max(1, int(shape.h * shape.w * self.keep_ratio)) for shape in shapes)
        return {**found, "video": max(low, min(high, said))}

    def count_bounds(self, found: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """(least, most) of every modality."""
        return {name: (n, n) for name, n in found.items()} | {"video": self._bounds(found)}

    def _bounds(self, found: Mapping[str, int]) -> tuple[int, int]:
        """Over all ways to cut: remainders and caps only ever take away, and a segment keeps one token at least."""
        least = most = 0
        for shape in found_shapes(type(self).__name__, found, Modality.VIDEO):
            budget, cuts = int(shape.h * shape.w * self.keep_ratio), min(self.segments, shape.t)
            salient = max(budget, 1) - int(max(budget, 1) * self.context)
            least += shape.t * salient if self.release == "llava" else cuts
            most += shape.t * max(budget, 1)
        return least, most


@register_method(
    "fastvid",
    Protocol(
        ratio="share of a video's tokens that enters the LLM, before rounding and alike frames",
        group="a frame for salient tokens, a segment of frames (DySeg) for anchors",
        rounding="floor, of the budget and of its context part; the rest is salient",
        minimum="1 a frame (qwen: 1 a segment)",
        score="attention received in the encoder, pooled query (llava: class token); anchors: density peaks, k = 4, of "
        "the tokens not salient, without the noise of the code",
        merge="to the nearest anchor of every anchor frame of the segment; anchor' = a anchor + (1 - a) mean",
        row_sum="1",
        audio="kept",
    ),
    "FastVID, arXiv 2503.11187, section 3; code read at LunarShen/FastVID a40a109; frames are compared by the mean of "
    "their tokens (llava: the encoder's pooled feature in the code)",
)
def fastvid(config: Any, ratio: float, *, release: str = "qwen", reduction: str | None = None) -> Schedule:
    """FastVID of every video.

    Args:
        config: not looked at.
        ratio: of videos; audio and images stay.
        release: "qwen" (threshold 0.84) or "llava" (0.9), see `SegmentAnchors`.
        reduction: of saliency; None: "pooled", for "llava" "cls".

    Raises:
        ValueError: an unknown release or reduction.
    """
    threshold, saliency = {"llava": (0.9, "cls")}.get(release, (0.84, "pooled"))
    return Schedule(SegmentAnchors(ratio, release=release, threshold=threshold, reduction=reduction or saliency))
