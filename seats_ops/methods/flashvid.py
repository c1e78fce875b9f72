"""FlashVID: salient and diverse tokens of every frame; of the rest, trees through time and clusters in frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import MediaShape, Modality, TokenLayout, group_tokens
from seats_ops.methods import own_work
from seats_ops.methods.arguments import SEGMENTS, video_alone
from seats_ops.methods.flashvid_adts import CUT, AdtsWeight
from seats_ops.methods.method import Protocol, register_method
from seats_ops.methods.one_layer import one_layer
from seats_ops.operators.clusters import cluster_counts, peak_clusters
from seats_ops.operators.dyseg import video_segments
from seats_ops.operators.grouped import Grouped
from seats_ops.operators.items import CountedVideos
from seats_ops.operators.scorers import Relevance
from seats_ops.operators.select import Ratio, Select
from seats_ops.operators.selection import Merge, Selection
from seats_ops.operators.selectors import MaxMin
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.operators.trees import COUNTS, roots_of, temporal_trees, tree_means, tree_sizes
from seats_ops.schedule import Schedule
from seats_ops.validation import check_choice, check_ratio

EXPANSION, DIVERSE, ALIKE, NEIGHBORS = 1.25, 0.7, 0.8, 7


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
    own_macs = own_work.trees
    keep_ratio: float
    count: str = field(default="subtree", kw_only=True)
    variant: str = field(default="v2", kw_only=True)
    reduction: str = field(default="mean", kw_only=True)

    def __post_init__(self) -> None:
        check_choice("count", self.count, COUNTS)

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
        diverse, other = self.num_kept(shape.h * shape.w)
        most = min(shape.h * shape.w, diverse + other + (other > 0))
        return shape.t * (diverse + other), shape.t * diverse, shape.t * most

    def __call__(self, features: Tensor, layout: TokenLayout, *, saliency: Tensor, backend: str = "auto") -> Selection:
        """See `Stage`; which roots are left to be clustered is read."""
        frames, device = Grouped(group_tokens(layout, "frame", [Modality.VIDEO]), features.device), features.device
        cut = video_segments("flashvid", features, layout, threshold=CUT, least=SEGMENTS)
        plan = [(n, *self.num_kept(len(x) // len(f))) for x, f, lengths in cut for n in lengths]
        frame = [(s, d, o > 0, n == 1) for s, (n, d, o) in enumerate(plan) for _ in range(n)]
        segment, budgets, some, alone = torch.tensor(frame, dtype=torch.int64, device="cpu").view(-1, 4).unbind(1)
        weight = AdtsWeight(self.variant, reduction=self.reduction)(features, layout, saliency=saliency)
        diverse = MaxMin().select(weight, frames.groups, budgets, layout, {"features": features}, backend)
        least = torch.tensor([n * (d + o) for n, d, o in plan], dtype=torch.int64, device="cpu")
        parent = temporal_trees(features, frames.ids, segment.to(device), ~diverse, threshold=ALIKE, least=least)
        itself = torch.arange(len(parent), dtype=torch.int64, device=device)
        root = roots_of(parent, max((n for n, *_ in plan), default=1))
        clustered, shared = (frames.spread(each.to(device)) > 0 for each in (some, alone))
        left = clustered & (root == itself) & (~diverse | shared)
        groups = frames.groups.only(left.cpu())
        counts = cluster_counts(groups.lengths.tolist(), [n for n, *_ in plan], [n * o for n, _, o in plan])
        sizes = tree_sizes(parent, root, self.count)
        means = tree_means(features, root, sizes, backend=backend)
        centre = peak_clusters(means, groups, counts, NEIGHBORS, backend=backend)
        row, source, none = centre[root], left[root], torch.zeros_like(root)
        members, stands_for = none.index_add(0, centre, left.long()), none.index_add(0, row, source.long())
        source = (source & (stands_for[row] > 1)).nonzero().squeeze(1)
        merge = Merge(row[source], source, 1.0 / (sizes[root[source]] * members[row[source]]))
        kept = ~frames.inside | diverse | (left & (centre == itself))
        return Selection(kept, merge=merge, multiplicity=stands_for.clamp(min=1).float())


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
        kv="sliced",
        audio="stays",
        count="data, shape",
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
