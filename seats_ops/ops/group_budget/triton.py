"""group_budget as one launch: one program per row, everything in registers, in integers from the shares on.

A real budget is left * share / shares of the open groups; its floor and its remainder stand for it, so that sums are
exact in any order. A round takes seven reductions over the groups; a row takes few rounds as a rule, and one per group
at most. A bisection finds the smallest remainder that is rounded up.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.ops.kernels import bounds
from seats_ops.ops.launch import KernelConfig, launch
from seats_ops.ops.tile_tables import tiles
from seats_ops.ops.tiles import Table

LARGEST = tl.constexpr(3.4028234663852886e38)
MOST = tl.constexpr(2**31 - 1)
TERMS = tl.constexpr(14)
LOWEST = tl.constexpr(-10000.0)
# Exponent of a share of 0: below all others, and differences fit.
NOTHING = tl.constexpr(-(2**30))
LOG2_E, LN_2 = tl.constexpr(1.4426950408889634), tl.constexpr(0.6931471805599453)
# Groups of a row are held in one of these numbers of lanes.
LANES = (64, 512, 2048)


@triton.jit
def _linear(value, exists):
    """int32 mantissas of 31 bits and exponents."""
    value = tl.where(exists & (value > 0.0), value, 0.0)
    bits = tl.minimum(value, LARGEST).to(tl.int32, bitcast=True)
    exponent = bits >> 23
    # Numbers too small for an exponent of their own have the smallest and no leading one.
    mantissa = (bits & 0x7FFFFF) + tl.where(exponent > 0, 0x800000, 0)
    return mantissa << 7, tl.where(mantissa > 0, tl.maximum(exponent, 1), NOTHING)


@triton.jit
def _softmax(value, exists, temperature):
    """The same of exp((value - largest value) / temperature)."""
    exists = exists & (value == value)
    value = tl.minimum(tl.maximum(tl.where(exists, value, 0.0), -LARGEST), LARGEST)
    peak = tl.max(tl.where(exists, value, -LARGEST), 0).to(tl.float64)
    x = (value.to(tl.float64) - peak) / tl.cast(temperature, tl.float64)
    x = tl.where(exists & (x > LOWEST), x, LOWEST)
    power = tl.floor(x * LOG2_E + 0.5)
    rest = x - power * LN_2
    series = rest * 0.0 + 1.0
    for step in tl.static_range(TERMS):
        series = 1.0 + rest * series * (1.0 / (TERMS - step))
    mantissa = (series * 1073741824.0).to(tl.int32)
    return tl.where(exists, mantissa, 0), tl.where(exists, power.to(tl.int32), NOTHING)


@triton.jit
def _sum(tokens):
    return tl.sum(tokens.to(tl.int64), 0)


@triton.jit(do_not_specialize=["minimum", "num_groups"])
def group_budget_kernel(
    scores,
    lengths,
    totals,
    cu_groups,
    budgets,
    temperature,
    minimum,
    num_groups,
    LANES: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    begin, end = bounds(cu_groups, row, num_groups, LANES)
    lane = tl.arange(0, LANES)
    inside = lane < end - begin
    upper = tl.load(lengths + begin + lane, mask=inside, other=0).to(tl.int64)
    # Nothing but a length that lies is cut here; all numbers of tokens then fit 32 bits, which takes fewer registers.
    upper = tl.minimum(tl.maximum(upper, 0), MOST).to(tl.int32)
    lower = tl.minimum(upper, minimum)
    total = tl.minimum(tl.load(totals + row).to(tl.int64), _sum(upper))
    total = tl.maximum(total, _sum(lower))
    value = tl.load(scores + begin + lane, mask=inside, other=0.0).to(tl.float32)
    if temperature > 0:
        mantissa, exponent = _softmax(value, upper > 0, temperature)
    else:
        mantissa, exponent = _linear(value, upper > 0)

    # A group is locked by making both of its bounds the one that it met.
    left = total - _sum(tl.where(upper > lower, 0, lower))
    whole = lower
    rest = tl.zeros((LANES,), tl.int64)
    norm = tl.full((), 1, tl.int64)
    locked = tl.full((), 1, tl.int32)
    while locked > 0:
        unlocked = upper > lower
        largest = tl.max(tl.where(unlocked, exponent, NOTHING), 0)
        shift = tl.minimum(tl.maximum(largest - exponent, 0), 31)
        weight = tl.where(unlocked, mantissa >> shift, 0)
        # Shares of 0 are equal shares where there are no others.
        weight = tl.where(unlocked & (tl.max(weight, 0) == 0), 1, weight)
        norm = tl.maximum(_sum(weight), 1)
        product = left * weight.to(tl.int64)
        quotient = product // norm
        rest = product - quotient * norm
        whole = quotient.to(tl.int32)
        above = unlocked & ((whole > upper) | ((whole == upper) & (rest > 0)))
        below = unlocked & (whole < lower)
        bound = tl.where(above, upper, lower)
        taken = tl.sum(tl.where(above | below, rest, 0), 0)
        added = _sum(tl.where(above | below, bound - whole, 0)) - taken // norm
        even = (added == 0) & (taken % norm == 0)
        lock = (below & ((added > 0) | even)) | (above & (added <= 0))
        left -= _sum(tl.where(lock, bound, 0))
        upper = tl.where(lock, bound, upper)
        lower = tl.where(lock, bound, lower)
        locked = tl.sum(lock.to(tl.int32), 0)

    budget = tl.where(upper > lower, whole, lower)
    # -1 where a bound is met.
    rest = tl.where(upper > lower, rest, -1)
    units = total - _sum(budget)
    # The largest remainder that at least `units` groups reach.
    low = tl.full((), 0, tl.int64)
    high = norm
    while low < high:
        middle = (low + high + 1) // 2
        enough = tl.sum((rest >= middle).to(tl.int32), 0) >= units
        low = tl.where(enough, middle, low)
        high = tl.where(enough, high, middle - 1)
    tied = (rest == low).to(tl.int32)
    ties = units - tl.sum((rest > low).to(tl.int32), 0)
    up = (rest > low) | ((tied != 0) & (tl.cumsum(tied, 0) <= ties))
    tl.store(budgets + begin + lane, budget.to(tl.int64) + up.to(tl.int64), mask=inside)


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
    budgets = torch.empty(scores.shape[0], dtype=torch.int64, device=scores.device)
    lanes = next(lanes for lanes in LANES if max_groups <= lanes)
    launch(
        group_budget_kernel,
        (totals.shape[0] if max_groups else 0,),
        scores.contiguous(),
        lengths.contiguous(),
        totals.contiguous(),
        cu_groups.contiguous(),
        budgets,
        # Of shares there is none.
        0.0 if temperature is None else temperature,
        minimum,
        scores.shape[0],
        LANES=lanes,
        **tiles(scores.device)[f"group_budget/{lanes}"].options,
    )
    return budgets


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    return tuple(
        KernelConfig(
            f"group_budget_{lanes}_{dtype}",
            group_budget_kernel,
            {
                "scores": f"*{dtype}",
                **dict.fromkeys(("lengths", "totals", "cu_groups", "budgets"), "*i64"),
                "temperature": "fp32",
                "minimum": "i32",
                "num_groups": "i32",
            },
            {"LANES": lanes},
            **table[f"group_budget/{lanes}"].limits,
        )
        for lanes in LANES
        for dtype in ("fp32", "bf16", "fp16")
    )
