"""A set that covers its group: the most salient tokens, then the density peaks of those that are left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seats_ops.operators.grouped import Grouped
from seats_ops.operators.peaks import top_density_peaks
from seats_ops.ops.segment_topk.api import segment_topk


def covering(
    features: Tensor,
    groups: Grouped,
    budgets: Tensor,
    salience: Tensor,
    places: Tensor,
    shares: Sequence[float],
    *,
    backend: str = "auto",
) -> Tensor:
    """As many tokens of every group as its budget says (OmniPack, arXiv 2608.03812).

    A share of the budget, at least one token, goes by salience; the rest are peaks of 7 neighbours by cosine distance +
    0.20 * distance of places, scaled to 1 for the farthest, with densities up to 1.35 times as high where tokens are
    salient.

    Args:
        features: [T, D].
        groups: of the tokens.
        budgets: int64 [G] on the host.
        salience: float32 [T].
        places: float32 [T, C], see `seats_ops.layout.extents.relative_places`.
        shares: of each group's budget, for the most salient.

    Returns:
        bool [T]; tokens of no group are kept.
    """
    device, lengths = features.device, groups.groups.lengths
    salience = groups.minmax(salience) + 1e-6
    pairs = zip(budgets.tolist(), shares, strict=True)
    first = torch.tensor([min(k, max(1, round(k * s))) for k, s in pairs], dtype=torch.int64, device="cpu")
    dominant = segment_topk(salience, groups.ids, first.to(device, non_blocking=True), backend=backend)
    peaks = top_density_peaks(
        features,
        groups.ids,
        groups.index[~dominant[groups.index]],
        lengths - first,
        budgets - first,
        torch.full_like(first, 7),
        metric="cosine",
        include_self=False,
        density_scale=1.0 + 0.35 * groups.minmax(salience, ~dominant),
        offsets=places,
        offset_weight=0.20,
        backend=backend,
    )
    return dominant | peaks
