"""What the kernels for short and for long windows agree on: distances, their limits, and what a weight counts as."""

from __future__ import annotations

import triton
import triton.language as tl

EPS = tl.constexpr(1e-8)
LOWEST = tl.constexpr(-3.4028234663852886e38)
HIGHEST = tl.constexpr(3.4028234663852886e38)
# Largest cosine distance: a token without a direction keeps nobody else from being picked.
FARTHEST = tl.constexpr(2.0)


@triton.jit
def cosine_distance(product, inverse_rows, inverse_columns):
    """1 - cos; NaN where either token has no finite norm."""
    return 1.0 - product * inverse_rows[:, None] * inverse_columns[None, :]


@triton.jit
def two_smallest(first, second, block, column):
    """Merge the two smallest of each row of `block` into those seen so far."""
    smallest = tl.min(block, 1)
    at = tl.argmin(block, 1)
    next_one = tl.min(tl.where(at[:, None] == column[None, :], float("inf"), block), 1)
    return tl.minimum(first, smallest), tl.minimum(tl.maximum(first, smallest), tl.minimum(second, next_one))


@triton.jit
def sane_weight(weight):
    """NaN counts as 0, infinities as the largest finite numbers."""
    weight = tl.where(weight != weight, 0.0, weight)
    return tl.minimum(tl.maximum(weight, LOWEST), HIGHEST)
