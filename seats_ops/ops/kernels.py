"""Device functions that several kernels share."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def bounds(offsets, segment, total, longest):
    """Where a segment begins and ends (int64): inside [0, total), at most `longest` apart, whatever `offsets` holds."""
    begin = tl.load(offsets + segment).to(tl.int64)
    end = tl.load(offsets + segment + 1).to(tl.int64)
    begin = tl.minimum(tl.maximum(begin, 0), total)
    return begin, tl.minimum(tl.maximum(end, begin), tl.minimum(begin + longest, total))


@triton.jit
def softmax_base(peak):
    """What logits with this maximum are lowered by: nothing where all are -inf, as -inf - -inf would be NaN."""
    return tl.where(peak == float("-inf"), 0.0, peak)


@triton.jit
def ordered_key(score):
    """float32 -> int64 that orders the same way: NaN as -inf, -0.0 as 0.0."""
    score = tl.where(score != score, float("-inf"), score)
    score = tl.where(score == 0.0, 0.0, score)
    bits = score.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)


@triton.jit
def round_half_even(x):
    """Nearest integer of a float32 far inside the int32 range, ties to even, as int32."""
    below = tl.floor(x)
    whole = below.to(tl.int32)
    up = (x - below > 0.5) | ((x - below == 0.5) & (whole % 2 != 0))
    return tl.where(up, whole + 1, whole)
