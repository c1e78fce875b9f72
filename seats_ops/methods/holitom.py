"""HoliTom: a place that stands still over some frames becomes one token; of the rest the salient ones stay."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from seats_ops.layout import MediaShape, TokenLayout, partners
from seats_ops.methods import own_work
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.anchors import mean_merge, nearest_anchor
from seats_ops.operators.items import CountedVideos, Item, whole_items
from seats_ops.operators.means import means, through_means
from seats_ops.operators.merged_into_relevant import MergedIntoRelevant
from seats_ops.operators.scorers import Saliency
from seats_ops.operators.selection import Selection
from seats_ops.operators.static_segments import static_segments
from seats_ops.operators.stored import Stored
from seats_ops.operators.top_peaks import top_density_peaks
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.ops.temporal_similarity.api import temporal_similarity
from seats_ops.schedule import Schedule
from seats_ops.validation import check_ratio

NEIGHBORS = 7
"""Of a density, the token itself included; of a group with fewer centres, as many as it has centres."""


class _Group(NamedTuple):
    """Tokens that are thinned together: how many stay for their saliency, how many as density peaks."""

    tokens: Tensor
    salient: int
    peaks: int


@dataclass(frozen=True)
class StaticAndDynamic(CountedVideos, Stored):
    """Cuts a video where most tokens can be left out, merges each place that stands still, and thins what is left.

    A place is static in a segment of frames where every token there is like the one before; its tokens become their
    mean, at the first. Segments are those with the most tokens left out this way. Of the rest every frame keeps salient
    tokens and density peaks, every segment density peaks of its static tokens (one at least where it has nothing else),
    and other tokens go to the nearest peak of their group: peak' = beta * peak + (1 - beta) * mean of its members.

    Attributes:
        keep_ratio: share of a video's tokens; raised for what is left by what merging left out, to 1 at most.
        threshold: a cosine above it holds a place still.
        context: share of a frame's budget that goes to density peaks; 0 lets what is not salient go.
        beta: part of itself that a peak keeps.
        max_window: frames of a segment, at most.
        reduction: of saliency, see `seats_ops.Stage`.
    """

    merges: ClassVar[bool] = True
    count_kind: ClassVar[str] = "data"
    own_macs = own_work.static_and_dynamic

    keep_ratio: float
    threshold: float = field(default=0.8, kw_only=True)
    context: float = field(default=0.0, kw_only=True)
    beta: float = field(default=0.6, kw_only=True)
    max_window: int = field(default=1024, kw_only=True)
    reduction: str = field(default="cls", kw_only=True)

    def __post_init__(self) -> None:
        for name in ("keep_ratio", "context", "beta"):
            check_ratio(name, getattr(self, name))
        if type(self.max_window) is not int or self.max_window < 1:
            raise ValueError(f"max_window: expected an int from 1, got {self.max_window!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Features are compared and merged."""
        return ("features", *Saliency(self.reduction).inputs, "grid")

    def __call__(self, features: Tensor, layout: TokenLayout, *, saliency: Tensor, backend: str = "auto") -> Selection:
        """See `Stage`; features [T, D], saliency [T]."""
        on_host: Any = {"dtype": torch.int64, "device": "cpu"}
        device = features.device
        items = whole_items(type(self).__name__, layout)
        partner = partners(layout).to(device, non_blocking=True)
        still = (temporal_similarity(features, partner, backend=backend) > self.threshold).cpu()
        # For every token the first of those that it becomes one with.
        first = torch.arange(len(layout), **on_host)
        groups = [group for item in items for group in self._groups(item, still, first)]
        ids = torch.full_like(first, -1)
        for g, group in enumerate(groups):
            ids[group.tokens] = g
        numbers = torch.tensor([[g.salient, g.peaks, len(g.tokens)] for g in groups], **on_host).view(-1, 3)
        salient, peaks, lengths = numbers.unbind(1)
        packed = torch.cat([ids.new_zeros(0), *(group.tokens for group in groups)]).to(device, non_blocking=True)
        gone = (first != torch.arange(len(layout), **on_host)).to(device, non_blocking=True)
        first, ids = first.to(device, non_blocking=True), ids.to(device, non_blocking=True)
        x = means(features, first, backend=backend)
        kept = segment_topk(saliency.float(), ids, salient.to(device, non_blocking=True), backend=backend)
        rest, neighbors = packed[~kept[packed]], peaks.clamp(max=NEIGHBORS)
        centres = top_density_peaks(x, ids, rest, lengths - salient, peaks, neighbors, backend=backend)
        pairs = nearest_anchor(x, ids, centres, ~kept & ~centres, metric="euclidean")
        merge = mean_merge(*pairs, centres, own=self.beta, others=1.0 - self.beta)
        return Selection((kept | centres) & ~gone, merge=through_means(merge, centres, first))

    def _groups(self, item: Item, still: Tensor, first: Tensor) -> list[_Group]:
        """Of one video; writes to `first`."""
        at, tokens = item.tokens.view(item.shape.t, item.grid), item.shape.num_tokens
        segments, left_out = static_segments(still[at[1:]], self.max_window)
        ratio = min(self.keep_ratio / ((tokens - left_out) / tokens), 1.0)
        groups = []
        for start, end in segments:
            static = still[at[start + 1 : end]].all(0) & (end - start > 1)
            first[at[start:end, static]] = at[start, static]
            found, moving = int(static.sum()), int((~static).sum())
            kept = math.ceil(moving * ratio)
            salient = round(kept * (1.0 - self.context))
            groups += [_Group(at[t, ~static], salient, kept - salient) for t in range(start, end) if moving]
            if found:
                groups.append(_Group(at[start, static], 0, max(round(found * ratio), int(not moving))))
        return groups

    def count_video(self, shape: MediaShape) -> tuple[int, int, int]:
        """See `CountedVideos`, as if nothing stood still.

        Rounding adds less than one token a frame and one a segment, and takes half a one a segment; a ratio raised to 1
        keeps all that is left, a frame at least.
        """
        grid, share = shape.h * shape.w, self.keep_ratio * shape.num_tokens
        least = max(1, min(grid, math.ceil(share - shape.t / 2)))
        most = min(shape.num_tokens, math.floor(share) + 2 * shape.t)
        return shape.t * math.ceil(grid * self.keep_ratio), least, most


@register_method(
    "holitom",
    Protocol(
        ratio="share of a video's tokens that enters the LLM, before rounding, inner_ratio stay after the layer",
        group="a frame's moving tokens, a segment's static ones, after the layer, all video tokens of a prompt",
        rounding="ceil of a frame, round half to even of static tokens, of the salient part, and after the layer",
        minimum="1 a frame with moving tokens, 1 a segment without",
        score="class token's attention in the encoder, density peaks, k = 7 at most, without the noise of the code, "
        "after the layer, attention of the last text token as it ran",
        merge="static places: mean over the segment, others to the nearest peak, beta 0.6, after the layer: halving",
        row_sum="1",
        kv="long",
        audio="kept",
    ),
    "HoliTom, arXiv 2505.21334, section 3; code read at cokeshao/HoliTom dd74634",
)
def holitom(
    config: Any,
    ratio: float,
    *,
    layer: int | None = 18,
    inner_ratio: float = 0.5,
    context: float = 0.0,
    reduction: str = "cls",
) -> Schedule:
    """HoliTom of every video.

    Args:
        config: not looked at.
        ratio: of videos before the LLM; audio and images stay.
        layer: after which video tokens are merged again; None: after none.
        inner_ratio: share of the video tokens that stay there.
        context, reduction: see `StaticAndDynamic`.

    Raises:
        ValueError: ratios outside [0, 1], an unknown reduction.
    """
    after = {} if layer is None else {layer: MergedIntoRelevant(inner_ratio)}
    return Schedule(StaticAndDynamic(ratio, context=context, reduction=reduction), after)
