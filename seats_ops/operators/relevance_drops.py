"""How much of every time group of a prompt goes, by how relevant it is (OmniSelect, arXiv 2605.18041)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seats_ops.layout import Groups


def leading_drops(
    groups: Sequence[Groups], relevance: Sequence[Sequence[float]], shares: Sequence[float], margin: float
) -> list[list[Any]]:
    """Share that every group of two modalities loses, by relevance in the one that leads in its prompt.

    Args:
        groups: of each modality.
        relevance: of each modality's groups, a mean over their tokens.
        shares: what a modality that does not lead loses of every group.
        margin: by how much a mean over a prompt must be larger, without fractions, to lead.

    Returns:
        Floats, and 0-d float32 tensors where a modality leads.
    """
    drops: list[list[Any]] = [[share] * len(of) for share, of in zip(shares, groups, strict=True)]
    for row in set(groups[0].row.tolist()) & set(groups[1].row.tolist()):
        mine = [(of.row == row).nonzero().squeeze(1).tolist() for of in groups]
        sizes = [of.lengths[at].tolist() for of, at in zip(groups, mine, strict=True)]
        own = [[of[group] for group in at] for of, at in zip(relevance, mine, strict=True)]
        pairs = zip(own, sizes, strict=True)
        first, second = (int(sum(r * n for r, n in zip(*pair, strict=True)) / sum(pair[1])) for pair in pairs)
        if abs(first - second) > margin:
            lead = int(second > first)
            for group, drop in zip(mine[lead], relevance_drops(own[lead], sizes[lead], shares[lead]), strict=True):
                drops[lead][group] = drop
    return drops


def relevance_drops(relevance: Sequence[float], sizes: Sequence[int], drop: float) -> Tensor:
    """Share that every group of a prompt loses: the less the more relevant it is, in all `drop` where [0, 1] allows it.

    The sigmoid of minus the standard score, times what makes the total right, clipped; then up to five times an equal
    share of what is missing for groups that are not clipped. Groups that are alike, and a single one, lose `drop`.

    Args:
        relevance: of each group.
        sizes: tokens of each group.
        drop: share of all tokens.

    Returns:
        float32 [G] on the host: in float32, as counts are rounded down from it.

    Example:
        >>> from seats_ops.operators.relevance_drops import relevance_drops
        >>> relevance_drops([5.0, 1.0], [10, 10], 0.5).tolist()[0] < 0.5
        True
    """
    scores = torch.tensor(list(relevance), dtype=torch.float32, device="cpu")
    n = torch.tensor(list(sizes), dtype=torch.float32, device="cpu")
    spread = scores.std() if len(scores) > 1 else scores.new_zeros(())
    shares = torch.full_like(scores, drop)
    if spread >= 1e-8:
        shares = torch.sigmoid(-(scores - scores.mean()) / (spread + 1e-8))
    goal = n.sum() * drop
    shares = (shares * (goal / ((shares * n).sum() + 1e-8))).clamp(0.0, 1.0)
    for _ in range(5):
        missing = goal - (shares * n).sum()
        loose = (shares > 0) & (shares < 1)
        if missing.abs() < 1e-3 or not loose.any():
            break
        shares = torch.where(loose, shares + missing / n[loose].sum(), shares).clamp(0.0, 1.0)
    return shares
