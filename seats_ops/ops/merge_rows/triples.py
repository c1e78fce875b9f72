"""Which triples count, and which rows they leave alone; nothing is read from the device."""

from __future__ import annotations

import torch
from torch import Tensor


def known_targets(target: Tensor, source: Tensor, total: int) -> Tensor:
    """int64 [N]: the target of every triple, `total` for one with an index out of range, which counts as none."""
    target, source = target.long(), source.long()
    known = (target >= 0) & (target < total) & (source >= 0) & (source < total)
    return torch.where(known, target, total)


def non_targets(target: Tensor, source: Tensor, total: int) -> Tensor:
    """bool [total]: rows that no triple changes."""
    rows = torch.ones(total + 1, dtype=torch.bool, device=target.device)
    return rows.index_fill(0, known_targets(target, source, total), False)[:total]
