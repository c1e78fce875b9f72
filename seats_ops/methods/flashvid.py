"""FlashVID: salient and diverse tokens of every frame; of the rest, trees through time and clusters in frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import MediaShape, Modality, TokenLayout, group_tokens
from seats_ops.methods.arguments import video_alone
from seats_ops.methods.flashvid_adts import AdtsWeight, segments_of
from seats_ops.methods.method import Protocol, register_method
from seats_ops.methods.one_layer import one_layer
from seats_ops.operators.clusters import peak_clusters
from seats_ops.operators.grouped import Grouped
from seats_ops.operators.items import CountedVideos
from seats_ops.operators.scorers import Relevance
from seats_ops.operators.select import Ratio, Select
from seats_ops.operators.selection import Merge, Selection
from seats_ops.operators.selectors import MaxMin
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.operators.trees import roots_of, temporal_trees
from seats_ops.ops.merge_rows.api import merge_rows
from seats_ops.schedule import Schedule
from seats_ops.validation import check_ratio

EXPANSION, DIVERSE, ALIKE, NEIGHBORS = 1.25, 0.7, 0.8, 7
COUNTS = ("subtree", "children")


@dataclass(frozen=True)
class FlashVidTrees(CountedVideos, Stored):
    """Keeps of every frame a diverse set and the means of trees and clusters of all other tokens.

    Tokens of a segment hang on those of the frame before (`temporal_trees`); where more roots are left than wanted,
    those of a frame are clustered. A segment of one frame clusters all its tokens, also those kept as diverse: a centre
    that is one of them becomes the mean of its cluster, and no row is there twice.

    Attributes:
        keep_ratio: share of a frame's tokens, before it is multiplied by 1.25.
        count: what the sum of a tree is divided by: "subtree", all its tokens (the paper), or "children", the root and
            those that hang on it directly (the release).
        variant, reduction: see `AdtsWeight`.
    """

    merges: ClassVar[bool] = True
    count_kind: ClassVar[str] = "data"
    keep_ratio: float
    count: str = field(default="subtree", kw_only=True)
    variant: str = field(default="v2", kw_only=True)
    reduction: str = field(default="mean", kw_only=True)

    def __post_init__(self) -> None:
        if self.count not in COUNTS:
            raise ValueError(f"count: expected one of {COUNTS}, got {self.count!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of the weights."""
        return AdtsWeight(self.variant, reduction=self.reduction).inputs

    def num_kept(self, grid: int) -> tuple[int, int]:
        """How many of a frame's tokens are diverse, and how many are trees or clusters."""
        budget = min(grid, math.ceil(grid * self.keep_ratio * EXPANSION))
        diverse = math.ceil(DIVERSE * budget)
        return diverse, budget - diverse

    def count_video(self, shape: MediaShape) -> tuple[int, int, int]:
        """Expected, least, most; rounding adds up to a token a frame."""
        (diverse, other), grid = self.num_kept(shape.h * shape.w), shape.h * shape.w
        kept = (diverse + other, diverse, min(grid, diverse + other + (other > 0)))
        return shape.t * kept[0], shape.t * kept[1], shape.t * kept[2]

    def __call__(self, features: Tensor, layout: TokenLayout, *, saliency: Tensor, backend: str = "auto") -> Selection:
        """See `Stage`; which roots are left to be clustered is read."""
        frames, device = Grouped(group_tokens(layout, "frame", [Modality.VIDEO]), features.device), features.device
        sizes = [(n, len(x) // len(f)) for x, f, segments in segments_of(features, layout) for n in segments]
        plan = [(n, *self.num_kept(grid)) for n, grid in sizes]
        rows = [(s, d, o, n == 1) for s, (n, d, o) in enumerate(plan) for _ in range(n)]
        segment, budgets, others, alone = torch.tensor(rows, dtype=torch.int64, device="cpu").view(-1, 4).unbind(1)
        least = torch.tensor([n * (d + o) for n, d, o in plan], dtype=torch.int64, device="cpu")
        weight = AdtsWeight(self.variant, reduction=self.reduction)(features, layout, saliency=saliency)
        diverse = MaxMin().select(weight, frames.groups, budgets, layout, {"features": features}, backend)
        parent = temporal_trees(features, frames.ids, segment.to(device), ~diverse, threshold=ALIKE, least=least)
        itself, root = torch.arange(len(parent), device=device), roots_of(parent, max((n for n, *_ in plan), default=1))
        ones = torch.ones_like(root)
        size = torch.zeros_like(root).index_add_(0, root if self.count == "subtree" else parent, ones)
        # A sum that is divided keeps equal tokens equal, whatever trees they are in.
        trees = merge_rows(features.float(), root, itself, ones.float(), backend=backend) / size.clamp(min=1)[:, None]
        left = (
            frames.spread((others > 0).to(device))
            & (root == itself)
            & (~diverse | frames.spread((alone > 0).to(device)))
        )
        groups = [x[left.cpu()[x]] for x in frames.groups.packed()[0].split(frames.groups.lengths.tolist())]
        counts = self._clusters([len(x) for x in groups], plan)
        centre = peak_clusters(trees, groups, counts, NEIGHBORS, backend=backend)
        members = torch.zeros_like(root).index_add_(0, centre, left.long())
        row, source = centre[root], left[root]
        stands_for = torch.zeros_like(root).index_add_(0, row, source.long())
        source = (source & (stands_for[row] > 1)).nonzero().squeeze(1)
        target = row[source]
        merge = Merge(target, source, 1.0 / (size[root[source]] * members[target]))
        kept = ~frames.inside | (diverse | (left & (centre == itself)))
        return Selection(kept, merge=merge, multiplicity=stands_for.clamp(min=1).float())

    def _clusters(self, roots: Sequence[int], plan: Sequence[tuple[int, int, int]]) -> list[int]:
        """Clusters of every frame, 0 where all roots stay: in proportion to roots, rounded up."""
        counts, frame = [], 0
        for n, _, other in plan:
            mine = roots[frame : frame + n]
            total, wanted, frame = sum(mine), other * n, frame + n
            counts += [-(-m * wanted // total) if total > wanted else 0 for m in mine]
        return counts


@register_method(
    "flashvid",
    Protocol(
        "about the average over layers: 1.25 times as much enters the LLM, 0.3 of that is left after layer 20 of 28",
        "diverse: a frame; clusters: a segment of frames",
        "diverse: see flashvid-adts; trees: cosine above 0.8; clusters: density peaks; inside: the layer's attention",
        rounding="ceil",
        minimum="1 for a ratio above 0",
        merge="trees, then clusters of trees: means of means, or the release's sums over the root's children",
        row_sum="1; children: up to half of a tree's tokens",
        kv="dropped",
        audio="kept",
    ),
    "FlashVID (arXiv 2602.08024), code read at 1d37422 and 3efef7e; densities have no noise here",
)
def flashvid(
    config: Any,
    ratio: KeepRatio,
    *,
    count: str = "subtree",
    variant: str = "v2",
    reduction: str = "mean",
    llm_ratio: float = 0.3,
    layers: Sequence[int] | None = None,
) -> Schedule:
    """Diverse tokens, trees and clusters before the LLM, attention inside it.

    Args:
        config: says how many layers there are, unless `llm_ratio` is 1.
        ratio: kept share of video, a number or a mapping.
        count: "subtree" (the paper) or "children" (the release), see `FlashVidTrees`.
        variant, reduction: see `AdtsWeight`.
        llm_ratio: share of the video that stays after the layer; 1 leaves that stage out.
        layers: the one of that stage; None: layer 20 of 28, scaled by depth.

    Raises:
        ValueError: a ratio of something else, another count, variant or reduction, not one layer.
    """
    trees = FlashVidTrees(video_alone(ratio), count=count, variant=variant, reduction=reduction)
    if check_ratio("llm_ratio", llm_ratio) == 1.0:
        return Schedule(trees)
    inside = Select(Relevance(weights="attention"), Ratio({"video": llm_ratio}, rounding="ceil"))
    return Schedule(trees, {one_layer(config, layers, 20, 28): inside})
