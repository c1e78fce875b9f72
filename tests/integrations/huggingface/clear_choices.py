"""How far a run was from keeping other tokens: the gap between what was kept and what was not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import normalize

from seats_ops import DiversitySelector, StagePruner, TokenLayout


def greedy_gap(features: Tensor, weights: Tensor, kept: Tensor) -> float:
    """Smallest lead of a pick over those never kept, in weighted max-min selection by cosine distance.

    Two tokens that are both kept may tie: it does not matter which of them comes first.
    """
    rows = normalize(features.double(), dim=1)
    distance = 1 - rows @ rows.T
    nearest = distance.topk(2, dim=0, largest=False).values[1]
    left, gap = kept.clone(), float("inf")
    for step in range(int(kept.sum())):
        values = weights.double() * nearest
        pick = int(values.masked_fill(~left, -1).argmax())
        gap = min(gap, float(values[pick] - values[~kept].max()))
        left[pick] = False
        nearest = distance[pick] if step == 0 else torch.minimum(nearest, distance[pick])
    return gap


def selector_gap(features: Tensor, layout: TokenLayout, weights: Tensor, kept: Tensor) -> float:
    """The smallest gap over all blocks that a DiversitySelector thinned."""
    assert layout.block is not None
    gaps = [float("inf")]
    for block in range(int(layout.block.max()) + 1):
        member = layout.block == block
        if not kept[member].all():
            gaps.append(greedy_gap(features[member], weights[member], kept[member]))
    return min(gaps)


def pruner_gap(scores: Tensor, layout: TokenLayout, kept: Tensor) -> float:
    """The smallest gap over all windows and modalities between the lowest score kept and the highest dropped."""
    windows, count = layout.windows()
    gaps = [float("inf")]
    for group in ((windows == w) & (layout.modality == m) for w in range(count) for m in (1, 2)):
        if (group & kept).any() and (group & ~kept).any():
            gaps.append(float(scores[group & kept].min() - scores[group & ~kept].max()))
    return min(gaps)


def budgets_hold(stage: StagePruner, scores: Tensor, layout: TokenLayout, kept: Tensor, noise: float) -> bool:
    """Scores that are off by up to `noise` grant the same budgets and keep the same tokens."""
    generator = torch.Generator().manual_seed(0)
    shaken = (scores + noise * (2 * torch.rand(scores.shape, generator=generator) - 1) for _ in range(4))
    return all(torch.equal(stage(s, layout), kept) for s in shaken)


@contextmanager
def recorded_gaps(noise: float) -> Iterator[list[float]]:
    """The gaps of all selections made meanwhile; 0 where budgets would change with scores that are off by `noise`."""
    gaps: list[float] = []
    select, choose = StagePruner.select, DiversitySelector.__call__

    def selecting(self: StagePruner, scores: Tensor, layout: TokenLayout, **kwargs: Any) -> Any:
        kept, budgets = select(self, scores, layout, **kwargs)
        with patch.object(StagePruner, "select", select):
            held = budgets_hold(self, scores, layout, kept, noise)
        gaps.append(pruner_gap(scores, layout, kept) if held else 0.0)
        return kept, budgets

    def choosing(
        self: DiversitySelector, features: Tensor, layout: TokenLayout, *, saliency: Any = None, **kwargs: Any
    ) -> Tensor:
        kept = choose(self, features, layout, saliency=saliency, **kwargs)
        weights = saliency if self.weighted and saliency is not None else torch.ones(len(features))
        gaps.append(selector_gap(features, layout, weights, kept))
        return kept

    with patch.object(StagePruner, "select", selecting), patch.object(DiversitySelector, "__call__", choosing):
        yield gaps
