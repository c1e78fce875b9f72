"""How much of every time group of a prompt goes, by how relevant it is (OmniSelect, arXiv 2605.18041)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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
