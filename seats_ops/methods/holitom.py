"""HoliTom: places that stand still for some frames become one token each; of the rest the salient ones stay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, group_tokens, partners
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.anchors import mean_merge, nearest_anchor
from seats_ops.operators.items import Item, found_shapes, whole_items
from seats_ops.operators.scorers import Saliency
from seats_ops.operators.selection import Merge, Selection
from seats_ops.operators.stage import num_kept
from seats_ops.operators.static_segments import static_segments
from seats_ops.operators.stored import Stored
from seats_ops.ops.dpc_knn.api import dpc_knn
from seats_ops.ops.merge_rows.api import merge_rows
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
class StaticAndDynamic(Stored):
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
        device, total = features.device, len(layout)
        items = whole_items(type(self).__name__, layout)
        partner = partners(layout) if items else torch.full((total,), -1)
        still = (temporal_similarity(features, partner.to(device), backend=backend) > self.threshold).cpu()
        # For every token the first of those that it becomes one with.
        first, groups = torch.arange(total), []
        for item in items:
            groups += self._groups(item, still, first)
        ids = torch.full((total,), -1)
        for g, group in enumerate(groups):
            ids[group.tokens] = g
        salient, peaks, lengths = (
            (
                torch.tensor([int(n) for n in part], dtype=torch.int64)
                for part in zip(*((g.salient, g.peaks, len(g.tokens)) for g in groups), strict=True)
            )
            if groups
            else (torch.zeros(0, dtype=torch.int64),) * 3
        )
        gone = (first != torch.arange(total)).to(device)
        packed = torch.cat([torch.zeros(0, dtype=torch.int64), *(group.tokens for group in groups)]).to(device)
        first, ids = first.to(device), ids.to(device)
        times = torch.bincount(first, minlength=total)
        many = (times[first] > 1).nonzero().squeeze(1)
        x = merge_rows(features.float(), first[many], many, 1.0 / times[first[many]], backend=backend)
        kept = segment_topk(saliency.float(), ids, salient.to(device), backend=backend)
        rest = packed[~kept[packed]]
        scores = torch.zeros(total, dtype=torch.float32, device=device)
        for k in sorted(set(peaks.clamp(max=NEIGHBORS).tolist()) - {0}):
            mine = peaks.clamp(max=NEIGHBORS) == k
            index = rest[mine.to(device)[ids[rest]]]
            sizes = (lengths - salient)[mine]
            offsets = torch.nn.functional.pad(sizes.cumsum(0), (1, 0)).to(device)
            scores[index] = dpc_knn(
                x, offsets, num_neighbors=k, index=index, max_seqlen=int(sizes.max()), backend=backend
            )
        left = torch.where(kept, -1, ids)
        centres = segment_topk(scores, left, peaks.to(device), backend=backend) & ~kept
        member, centre = nearest_anchor(x, left, centres, ~kept & ~centres, metric="euclidean")
        merge = mean_merge(member, centre, centres, own=self.beta, others=1.0 - self.beta)
        alone = centres & (times > 1)
        alone[merge.target] = False
        alone = alone.nonzero().squeeze(1)
        ones = torch.ones(len(alone), dtype=torch.float32, device=device)
        merge = Merge(*(torch.cat(pair) for pair in zip(merge, (alone, alone, ones), strict=True)))
        return Selection((kept | centres) & ~gone, merge=_of_rows(merge, first, times))

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

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`: as if nothing stood still."""
        low, high = self._bounds(found)
        shapes = found_shapes(type(self).__name__, found, Modality.VIDEO)
        said = sum(shape.t * math.ceil(shape.h * shape.w * self.keep_ratio) for shape in shapes)
        return {**found, "video": max(low, min(high, said))}

    def count_bounds(self, found: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """(least, most) of every modality."""
        return {name: (n, n) for name, n in found.items()} | {"video": self._bounds(found)}

    def _bounds(self, found: Mapping[str, int]) -> tuple[int, int]:
        """Rounding adds less than a token a frame and one a segment, and takes half a one a segment; the ratio that is
        raised to 1 keeps all that is left, a frame at least."""
        least = most = 0
        for shape in found_shapes(type(self).__name__, found, Modality.VIDEO):
            tokens, share = shape.num_tokens, self.keep_ratio * shape.num_tokens
            least += max(1, min(shape.h * shape.w, math.ceil(share - shape.t / 2))) if self.keep_ratio else 1
            most += min(tokens, math.floor(share) + 2 * shape.t)
        return least, most


def _of_rows(merge: Merge, first: Tensor, times: Tensor) -> Merge:
    """A map of rows of which some are means, as a map of the rows that these are means of."""
    order, start = first.argsort(stable=True), times.cumsum(0) - times
    n = times[merge.source]
    place = torch.arange(int(n.sum()), device=n.device) - (n.cumsum(0) - n).repeat_interleave(n)
    source = order[start[merge.source].repeat_interleave(n) + place]
    return Merge(merge.target.repeat_interleave(n), source, (merge.coefficient / n).repeat_interleave(n))


@dataclass(frozen=True)
class MergedIntoRelevant(Stored):
    """After a layer, keeps the video tokens that the query looks at most and merges each other one into the most alike.

    Members come one after another, in order, and each becomes half of what is there then: kept' = (kept + member) / 2.

    Attributes:
        keep_ratio: share of a prompt's video tokens that are there.
    """

    inputs: ClassVar[tuple[str, ...]] = ("features", "scores:last_text/attention")
    merges: ClassVar[bool] = True
    count_kind: ClassVar[str] = "shape"
    kv_rule: ClassVar[str] = "long"

    keep_ratio: float = 0.5

    def __post_init__(self) -> None:
        check_ratio("keep_ratio", self.keep_ratio)

    def __call__(self, features: Tensor, layout: TokenLayout, *, scores: Tensor, backend: str = "auto") -> Selection:
        """See `Stage`; features [T, D], scores [T]."""
        groups = group_tokens(layout, "modality", [Modality.VIDEO])
        budgets = torch.tensor([num_kept(n, self.keep_ratio) for n in groups.lengths.tolist()], dtype=torch.int64)
        ids = groups.ids.to(features.device, non_blocking=True)
        kept = segment_topk(scores.float(), ids, budgets.to(features.device), backend=backend)
        member, anchor = nearest_anchor(features, ids, kept, ~kept)
        count = torch.bincount(anchor, minlength=len(layout))
        order = anchor.argsort(stable=True)
        member, anchor = member[order], anchor[order]
        halvings = count[anchor] - (torch.arange(len(anchor), device=ids.device) - torch.searchsorted(anchor, anchor))
        own = (count > 0).nonzero().squeeze(1)
        coefficient = 0.5 ** torch.cat([count[own], halvings]).float()
        return Selection(kept, merge=Merge(torch.cat([own, anchor]), torch.cat([own, member]), coefficient))

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`."""
        return {**found, "video": num_kept(found["video"], self.keep_ratio)}


@register_method(
    "holitom",
    Protocol(
        ratio="share of a video's tokens that enters the LLM, before rounding; inner_ratio stay after the layer",
        group="a frame's moving tokens; a segment's static ones; after the layer, all video tokens of a prompt",
        rounding="ceil of a frame, round half to even of static tokens, of the salient part, and after the layer",
        minimum="1 a frame with moving tokens, 1 a segment without",
        score="class token's attention in the encoder; density peaks, k = 7 at most, without the noise of the code; "
        "after the layer, attention of the last text token as it ran",
        merge="static places: mean over the segment; others to the nearest peak, beta 0.6; after the layer: halving",
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
