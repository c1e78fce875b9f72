"""Budgets of groups that add up to what one group of all their tokens would keep."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.layout import Groups
from seats_ops.ops.group_budget.api import group_budget


def exact_budgets(groups: Groups, ratios: Tensor, rounding: str, minimum: int) -> Tensor:
    """int64 [G]: shares of a prompt and modality's total by length, floor and one more for the largest fractions.

    Args:
        ratios: float64 [4], by `Modality`.
        rounding: "round", "floor" or "ceil", of the total; at least 1 where there are tokens and `minimum` is.
        minimum: of every group; a total too small for it is raised.
    """
    cell = groups.row * 4 + groups.modality
    order = cell.argsort(stable=True)
    found, counts = cell[order].unique_consecutive(return_counts=True)
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    lengths = groups.lengths[order]
    sums = torch.zeros(len(found), dtype=torch.int64, device="cpu").index_add(
        0, torch.searchsorted(found, cell[order]), lengths
    )
    totals = getattr(ratios[found % 4] * sums, rounding)().long()
    totals = torch.maximum(totals, sums.clamp(max=min(1, minimum)))
    longest = int(counts.max()) if len(counts) else 0
    shared = group_budget(
        lengths.float(), lengths, totals, offsets, minimum=minimum, max_groups=longest, backend="reference"
    )
    return torch.empty_like(shared).index_copy(0, order, shared)
