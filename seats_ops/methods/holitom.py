"""HoliTom: a place that stands still over some frames becomes one token; of the rest the salient ones stay."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import MediaShape, TokenLayout, partners
from seats_ops.layout.groups import groups_of
from seats_ops.methods import own_work
from seats_ops.methods.arguments import video_alone
from seats_ops.methods.method import Protocol, register_method
from seats_ops.methods.one_layer import one_layer
from seats_ops.operators.anchor_merges import mean_merge
from seats_ops.operators.anchors import nearest_anchor
from seats_ops.operators.items import CountedVideos, Item, whole_items
from seats_ops.operators.means import means, through_means
from seats_ops.operators.merged_into_relevant import MergedIntoRelevant
from seats_ops.operators.peaks import salient_and_peaks
from seats_ops.operators.scorers import BySaliency
from seats_ops.operators.selection import Selection
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.static_segments import static_segments
from seats_ops.operators.stored import Stored
from seats_ops.ops.temporal_similarity.api import temporal_similarity
from seats_ops.schedule import Schedule
from seats_ops.validation import check_int, check_ratio

NEIGHBORS = 7
"""Of a density, the token itself included; of a group with fewer centres, as many as it has centres."""


@dataclass(frozen=True)
class StaticAndDynamic(BySaliency, CountedVideos, Stored):
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
    reduction: str = field(default="mean", kw_only=True)

    def __post_init__(self) -> None:
        for name in ("keep_ratio", "context", "beta"):
            check_ratio(name, getattr(self, name))
        check_int("max_window", self.max_window, 1)

    def __call__(self, features: Tensor, layout: TokenLayout, *, saliency: Tensor, backend: str = "auto") -> Selection:
        """See `Stage`; features [T, D], saliency [T]."""
        items, device = whole_items(type(self).__name__, layout), features.device
        still = (temporal_similarity(features, partners(layout).to(device), backend=backend) > self.threshold).cpu()
        # For every token the first of those that it becomes one with.
        itself = torch.arange(len(layout), dtype=torch.int64, device="cpu")
        first = itself.clone()
        found = [group for item in items for group in self._groups(item, still, first)]
        groups = groups_of(layout, [tokens for tokens, _, _ in found])
        salient, peaks = torch.tensor([group[1:] for group in found], dtype=torch.int64, device="cpu").view(-1, 2).T
        first, ids, itself = (each.to(device, non_blocking=True) for each in (first, groups.ids, itself))
        x, neighbors = means(features, first, backend=backend), peaks.clamp(max=NEIGHBORS)
        kept, centres = salient_and_peaks(x, groups, saliency, salient, peaks, neighbors, backend=backend)
        member, centre, _ = nearest_anchor(x, ids, centres, ~kept & ~centres, metric="euclidean")
        merge = mean_merge(member, centre, centres, own=self.beta, others=1.0 - self.beta)
        return Selection((kept | centres) & (first == itself), merge=through_means(merge, centres, first))

    def _groups(self, item: Item, still: Tensor, first: Tensor) -> list[tuple[Tensor, int, int]]:
        """Tokens that are thinned together, and how many stay salient or as peaks; of one video. Writes to `first`."""
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
            groups += [(at[t, ~static], salient, kept - salient) for t in range(start, end) if moving]
            if found:
                groups.append((at[start, static], 0, max(round(found * ratio), int(not moving))))
        return groups

    def count_video(self, shape: MediaShape) -> tuple[int, int, int]:
        """See `CountedVideos`, as if nothing stood still.

        Rounding adds less than one token a frame and one a segment, and takes half a one a segment; a ratio raised to 1
        keeps all that is left, a frame at least.
        """
        grid, share = shape.h * shape.w, self.keep_ratio * shape.num_tokens
        most = min(shape.num_tokens, math.floor(share) + 2 * shape.t)
        return shape.t * math.ceil(grid * self.keep_ratio), max(1, min(grid, math.ceil(share - shape.t / 2))), most


@register_method(
    "holitom",
    Protocol(
        ratio="share of a video's tokens that enters the LLM, before rounding, inner_ratio stay after the layer",
        group="a frame's moving tokens, a segment's static ones, after the layer, all video tokens of a prompt",
        rounding="ceil of a frame, round half to even of static tokens, of the salient part, and after the layer",
        minimum="1 a frame with moving tokens, 1 a segment without",
        score="attention received in the encoder, mean over queries (the class token's in the code), density peaks, "
        "k = 7 at most, without the noise of the code, after the layer, attention of the last text token as it ran",
        merge="static places: mean over the segment, others to the nearest peak, beta 0.6, after the layer: halving",
        row_sum="1",
        order="ascending; code: of a segment the static tokens, then frame by frame salient ones, then peaks",
        kv="long",
        audio="stays",
        count="data, shape",
    ),
    "HoliTom, arXiv 2505.21334, section 3; code read at cokeshao/HoliTom dd74634",
)
def holitom(
    config: Any,
    ratio: KeepRatio,
    *,
    layer: int | str | None = "scaled",
    inner_ratio: float = 0.5,
    context: float = 0.0,
    reduction: str = "mean",
) -> Schedule:
    """HoliTom of every video.

    Args:
        config: says how many layers there are, unless `layer` is None.
        ratio: of videos before the LLM, a number or a mapping; audio and images stay.
        layer: after which video tokens are merged again; "scaled": 18 of 28, by depth; None: after none.
        inner_ratio: share of the video tokens that stay there.
        context, reduction: see `StaticAndDynamic`.

    Raises:
        TypeError, ValueError: ratios outside [0, 1], an unknown reduction, a layer there is not.
    """
    chosen: Any = None if layer == "scaled" else (layer,)
    inside = MergedIntoRelevant(check_ratio("inner_ratio", inner_ratio))
    after = {} if layer is None else {one_layer(config, chosen, 18, 28, "layer"): inside}
    return Schedule(StaticAndDynamic(video_alone(ratio), context=context, reduction=reduction), after)
