"""segment_topk as one launch.

One program per segment looks for its tokens once (first, last, number), then bisects the score of the last kept token
in 32 steps over that stretch and writes its part of the mask; among equal scores a running sum keeps the first.
Programs past the last segment mark the tokens that belong to none. Work: T per segment to find it, 34 passes over its
stretch.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.ops.kernels import ordered_key
from seats_ops.ops.launch import KernelConfig, launch
from seats_ops.ops.tile_tables import tiles
from seats_ops.ops.tiles import Table


@triton.jit(do_not_specialize=["total", "num_segments"])
def segment_topk_kernel(scores, segment, budget, keep_mask, total, num_segments, BLOCK: tl.constexpr):
    pid = tl.program_id(0)
    lane = tl.arange(0, BLOCK).to(tl.int64)
    if pid >= num_segments:
        token = (pid - num_segments).to(tl.int64) * BLOCK + lane
        inside = token < total
        number = tl.load(segment + token, mask=inside, other=0).to(tl.int64)
        # An id that names no segment keeps nothing; only values of a device can hold one.
        tl.store(keep_mask + token, number < 0, mask=inside & ((number < 0) | (number >= num_segments)))
        return

    first = total.to(tl.int64)
    last = tl.full((), -1, tl.int64)
    size = tl.full((), 0, tl.int64)
    for start in range(0, total, BLOCK):
        token = start + lane
        mine = _belongs(segment, pid, token, token < total)
        first = tl.minimum(first, tl.min(tl.where(mine, token, total), 0))
        last = tl.maximum(last, tl.max(tl.where(mine, token, -1), 0))
        size += tl.sum(mine.to(tl.int64), 0)
    wanted = tl.minimum(tl.load(budget + pid).to(tl.int64), size)

    # The largest key that at least `wanted` tokens reach.
    low = tl.full((), -(2**31), tl.int64)
    high = tl.full((), 2**31 - 1, tl.int64)
    for _step in range(32):
        middle = (low + high + 1) >> 1
        reached = _count_from(scores, segment, pid, first, last, middle, BLOCK)
        enough = reached >= wanted
        low = tl.where(enough, middle, low)
        high = tl.where(enough, high, middle - 1)
    ties = wanted - _count_from(scores, segment, pid, first, last, low + 1, BLOCK)

    seen = tl.full((), 0, tl.int64)
    for start in range(first, last + 1, BLOCK):
        token = start + lane
        mine, key = _load(scores, segment, pid, token, last)
        tied = mine & (key == low)
        place = seen + tl.cumsum(tied.to(tl.int64), 0)
        keep = (key > low) | (tied & (place <= ties))
        tl.store(keep_mask + token, keep, mask=mine)
        seen += tl.sum(tied.to(tl.int64), 0)


@triton.jit
def _belongs(segment, pid, token, inside):
    """No number stands for "outside": an unsigned id has none to spare."""
    return inside & (tl.load(segment + token, mask=inside, other=0).to(tl.int64) == pid)


@triton.jit
def _load(scores, segment, pid, token, last):
    mine = _belongs(segment, pid, token, token <= last)
    return mine, ordered_key(tl.load(scores + token, mask=mine, other=0.0).to(tl.float32))


@triton.jit
def _count_from(scores, segment, pid, first, last, key_from, BLOCK: tl.constexpr):
    """Number of tokens of the segment whose key is at least `key_from`."""
    count = tl.full((), 0, tl.int64)
    for start in range(first, last + 1, BLOCK):
        token = start + tl.arange(0, BLOCK).to(tl.int64)
        mine, key = _load(scores, segment, pid, token, last)
        count += tl.sum((mine & (key >= key_from)).to(tl.int64), 0)
    return count


def segment_topk(scores: Tensor, segment: Tensor, budget: Tensor) -> Tensor:
    """See `api.segment_topk`."""
    total, num_segments = scores.shape[0], budget.shape[0]
    keep_mask = torch.empty(total, dtype=torch.bool, device=scores.device)
    if total:
        tile = tiles(scores.device)["segment_topk"]
        launch(
            segment_topk_kernel,
            (num_segments + triton.cdiv(total, tile["BLOCK"]),),
            scores.contiguous(),
            segment.contiguous(),
            budget.contiguous(),
            keep_mask,
            total,
            num_segments,
            **tile.options,
        )
    return keep_mask


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    tile = table["segment_topk"]
    return tuple(
        KernelConfig(
            f"segment_topk_{dtype}",
            segment_topk_kernel,
            {
                "scores": f"*{dtype}",
                "segment": "*i64",
                "budget": "*i64",
                "keep_mask": "*i1",
                "total": "i32",
                "num_segments": "i32",
            },
            tile.blocks,
            **tile.limits,
        )
        for dtype in ("fp32", "bf16", "fp16")
    )
