"""group_budget in PyTorch: all rows side by side, padded to the longest one, in integers.

A real budget is left * share / shares of the open groups; its floor and its remainder over that sum stand for it, so
that comparisons and sums are exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.validation import reads_are_free

FLOAT32 = torch.finfo(torch.float32)
# Terms of the series of exp that a double can tell apart on [-ln 2 / 2, ln 2 / 2].
TERMS = 14
# A score is at most so many temperatures below the largest one.
LOWEST = -10000.0
# Exponent of a share of 0: below all others, and differences fit.
NOTHING = -(2**30)
LOG2_E, LN_2 = 1.4426950408889634, 0.6931471805599453


def group_budget(
    scores: Tensor,
    lengths: Tensor,
    totals: Tensor,
    cu_groups: Tensor,
    temperature: float | None,
    minimum: int,
    max_groups: int,
) -> Tensor:
    """See `api.group_budget`."""
    budgets = torch.zeros(scores.shape[0], dtype=torch.int64, device=scores.device)
    if max_groups == 0:
        return budgets
    starts, ends = cu_groups[:-1].long(), cu_groups[1:].long()
    place = starts[:, None] + torch.arange(max_groups, dtype=torch.int64, device=scores.device)
    inside = place < ends[:, None]
    place = torch.where(inside, place, 0)
    upper = torch.where(inside, lengths[place].long().clamp(min=0), 0)
    lower = upper.clamp(max=minimum)
    total = torch.maximum(torch.minimum(totals.long(), upper.sum(1)), lower.sum(1))
    values, exists = scores[place].float(), upper > 0
    share = _linear(values, exists) if temperature is None else _softmax(values, exists, temperature)
    padded = _rounded(*_real_budgets(*share, lower, upper, total), total)
    # Padding is sent to one slot past the end.
    spare = torch.nn.functional.pad(budgets, (0, 1))
    return spare.index_put((torch.where(inside, place, scores.shape[0]),), padded)[:-1]


def _linear(values: Tensor, exists: Tensor) -> tuple[Tensor, Tensor]:
    """int64 [B, n] mantissas of 31 bits and exponents."""
    # Neither NaN nor -0.0 is above zero.
    bits = torch.where(exists & (values > 0), values.clamp(max=FLOAT32.max), 0.0).view(torch.int32).long()
    exponent, fraction = bits >> 23, bits & 0x7FFFFF
    # Numbers too small for an exponent of their own have the smallest and no leading one.
    mantissa = torch.where(exponent > 0, fraction + 0x800000, fraction)
    return mantissa << 7, torch.where(mantissa > 0, exponent.clamp(min=1), NOTHING)


def _softmax(values: Tensor, exists: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The same of exp((value - largest value) / temperature)."""
    exists = exists & ~values.isnan()
    values = values.clamp(FLOAT32.min, FLOAT32.max).double()
    peak = torch.where(exists, values, -torch.inf).amax(1, keepdim=True)
    # torch multiplies by the reciprocal of a number on some devices, and divides by a tensor on all of them.
    x = torch.where(exists, (values - peak) / torch.full_like(peak, temperature), LOWEST).clamp(min=LOWEST)
    power = (x * LOG2_E + 0.5).floor()
    rest = x - power * LN_2
    series = torch.ones_like(rest)
    for term in range(TERMS, 0, -1):
        series = 1.0 + rest * series * (1.0 / term)
    return torch.where(exists, (series * 2.0**30).long(), 0), torch.where(exists, power.long(), NOTHING)


def _real_budgets(
    mantissa: Tensor, exponent: Tensor, lower: Tensor, upper: Tensor, total: Tensor
) -> tuple[Tensor, Tensor]:
    """Whole parts, and remainders over a common divisor of the row, -1 where a bound is met."""
    budget, is_open, left = lower.clone(), upper > lower, total - torch.where(upper > lower, 0, lower).sum(1)
    # As many as a row can need, one of them to see that nothing is out of bounds; where looking is free, as it does.
    for _ in range(lower.shape[1] + 1):
        largest = torch.where(is_open, exponent, NOTHING).amax(1, keepdim=True)
        weight = torch.where(is_open, mantissa >> (largest - exponent).clamp(0, 31), 0)
        norm = weight.sum(1, keepdim=True)
        weight = torch.where(norm > 0, weight, is_open.long())
        norm = weight.sum(1, keepdim=True).clamp(min=1)
        product = left[:, None] * weight
        whole = product // norm
        rest = product - whole * norm
        above = is_open & ((whole > upper) | ((whole == upper) & (rest > 0)))
        below = is_open & (whole < lower)
        bound = torch.where(above, upper, lower)
        outside = above | below
        # What the bounds add, in whole units and in parts of `norm` that are taken off them.
        added = torch.where(outside, bound - whole, 0).sum(1, keepdim=True)
        taken = torch.where(outside, rest, 0).sum(1, keepdim=True)
        added, taken = added - taken // norm, taken % norm
        lock = torch.where(added > 0, below, torch.where((added == 0) & (taken == 0), outside, above))
        if reads_are_free(lock) and not bool(lock.any()):
            break
        budget = torch.where(lock, bound, budget)
        left = left - torch.where(lock, bound, 0).sum(1)
        is_open = is_open & ~lock
    return torch.where(is_open, whole, budget), torch.where(is_open, rest, -1)


def _rounded(whole: Tensor, rest: Tensor, total: Tensor) -> Tensor:
    """One unit more for the largest remainders, the first among equal ones, up to the total."""
    order = rest.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], dtype=torch.int64, device=order.device).expand_as(order)
    )
    return whole + (rank < (total - whole.sum(1))[:, None]).long()
