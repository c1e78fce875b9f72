"""temporal_similarity in PyTorch: products of gathered rows, some rows at a time."""

from __future__ import annotations

import torch
from torch import Tensor

# Features held in float32 at once, for either side of the pairs: what fits a core's cache (4 MiB).
CELLS = 2**20


def temporal_similarity(features: Tensor, partner: Tensor, missing: float, eps: float) -> Tensor:
    """See `api.temporal_similarity`."""
    total, channels = features.shape
    # An unsigned partner is widened first, so that no number of its own means "none".
    partner = partner.long()
    exists = (partner >= 0) & (partner < total)
    rows = torch.where(exists, partner, 0)
    result = torch.empty(total, dtype=torch.float32, device=features.device)
    # Of one size, give or take a row: torch adds up a row that is alone in another order.
    parts = max(1, min(total, -(-total * channels // CELLS)))
    for own, others, out in zip(*(tensor.tensor_split(parts) for tensor in (features, rows, result)), strict=True):
        x, y = own.float(), features[others].float()
        x_norm, y_norm = (x * x).sum(1).sqrt(), (y * y).sum(1).sqrt()
        # The larger norm first, whichever it is: their product may overflow or vanish, and the order must not matter.
        larger, smaller = torch.maximum(x_norm, y_norm) + eps, torch.minimum(x_norm, y_norm) + eps
        finite = x_norm.isfinite() & y_norm.isfinite()
        out.copy_(torch.where(finite, (x * y).sum(1) / larger / smaller, torch.nan))
    return torch.where(exists, result, missing)
