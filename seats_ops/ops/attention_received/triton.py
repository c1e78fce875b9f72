"""attention_received in three launches, deterministic, without atomics.

1. A program per (block of queries, segment, head) walks over the keys of its segment and leaves the log-sum-exp of each
   row. 2. A program per (block of keys, segment, head) walks over the queries, recomputes the logits and sums the
   probabilities of its columns: one partial result per head. 3. The mean over heads. With a given log-sum-exp the first
   launch falls away. A channel count that is no power of two is multiplied as two tiles, 80 = 64 + 16.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.ops.attention_received.tiles import tile_of
from seats_ops.ops.kernels import bounds, softmax_base
from seats_ops.ops.launch import KernelConfig, launch, split_channels
from seats_ops.ops.tile_tables import tiles
from seats_ops.ops.tiles import Table

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _tile(base, first, end, stride, channel, BLOCK: tl.constexpr, CHANNELS: tl.constexpr):
    """Rows `first` to `first` + BLOCK; 64-bit addresses once per tile, 32-bit offsets inside it."""
    row = tl.arange(0, BLOCK)
    mask = (row < end - first)[:, None] & (channel < CHANNELS)[None, :]
    return tl.load(base + first * stride + row[:, None] * stride + channel[None, :], mask=mask, other=0.0)


@triton.jit(do_not_specialize=["total", "num_heads", "longest"])
def row_logsumexp_kernel(
    query,
    key,
    cu_seqlens,
    peaks,
    norms,
    scale,
    total,
    num_heads,
    longest,
    CHANNELS: tl.constexpr,
    HEAD: tl.constexpr,
    TAIL: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
):
    head = tl.program_id(2).to(tl.int64)
    # From a constant, so that rows are known to be aligned for any number of heads.
    stride = num_heads * CHANNELS
    begin, end = bounds(cu_seqlens, tl.program_id(1), total, longest)
    first = begin + tl.program_id(0).to(tl.int64) * QUERIES
    if first >= end:
        return
    token = first + tl.arange(0, QUERIES)
    inside = token < end
    channel = tl.arange(0, HEAD)
    tail = HEAD + tl.arange(0, TAIL if TAIL > 0 else 16)
    query += head * CHANNELS
    key += head * CHANNELS
    q = _tile(query, first, end, stride, channel, QUERIES, CHANNELS)
    if TAIL > 0:
        q_tail = _tile(query, first, end, stride, tail, QUERIES, CHANNELS)
    peak = tl.full((QUERIES,), float("-inf"), tl.float32)
    norm = tl.zeros((QUERIES,), tl.float32)
    for start in range(begin, end, KEYS):
        other = start + tl.arange(0, KEYS)
        valid = other < end
        k = _tile(key, start, end, stride, channel, KEYS, CHANNELS)
        logit = tl.dot(q, tl.trans(k), input_precision="ieee")
        if TAIL > 0:
            k_tail = _tile(key, start, end, stride, tail, KEYS, CHANNELS)
            logit = tl.dot(q_tail, tl.trans(k_tail), logit, input_precision="ieee")
        logit = tl.where(valid[None, :], logit * (scale * LOG2E), float("-inf"))
        higher = tl.maximum(peak, tl.max(logit, 1))
        base = softmax_base(higher)
        norm = norm * tl.exp2(peak - base) + tl.sum(tl.exp2(logit - base[:, None]), 1)
        peak = higher
    # Apart, as one number of the size of the logits would have lost what the small ones add.
    tl.store(peaks + head * total + token, peak, mask=inside)
    tl.store(norms + head * total + token, norm, mask=inside)


@triton.jit(do_not_specialize=["total", "num_heads", "longest"])
def column_sum_kernel(
    query,
    key,
    cu_seqlens,
    peaks,
    norms,
    partial,
    scale,
    total,
    num_heads,
    longest,
    CHANNELS: tl.constexpr,
    HEAD: tl.constexpr,
    TAIL: tl.constexpr,
    GIVEN: tl.constexpr,
    KEYS: tl.constexpr,
    QUERIES: tl.constexpr,
):
    head = tl.program_id(2).to(tl.int64)
    # From a constant, so that rows are known to be aligned for any number of heads.
    stride = num_heads * CHANNELS
    begin, end = bounds(cu_seqlens, tl.program_id(1), total, longest)
    first = begin + tl.program_id(0).to(tl.int64) * KEYS
    if first >= end:
        return
    token = first + tl.arange(0, KEYS)
    inside = token < end
    channel = tl.arange(0, HEAD)
    tail = HEAD + tl.arange(0, TAIL if TAIL > 0 else 16)
    query += head * CHANNELS
    key += head * CHANNELS
    # Turned outside the loop: inside it, Triton 3.9 would hold all of a float32 tile in registers.
    k = tl.trans(_tile(key, first, end, stride, channel, KEYS, CHANNELS))
    if TAIL > 0:
        k_tail = tl.trans(_tile(key, first, end, stride, tail, KEYS, CHANNELS))
    column = tl.zeros((KEYS,), tl.float32)
    for start in range(begin, end, QUERIES):
        other = start + tl.arange(0, QUERIES)
        valid = other < end
        q = _tile(query, start, end, stride, channel, QUERIES, CHANNELS)
        # The same product of tiles of the same shape as in the other kernel, so that it rounds the same way.
        logit = tl.dot(q, k, input_precision="ieee")
        if TAIL > 0:
            q_tail = _tile(query, start, end, stride, tail, QUERIES, CHANNELS)
            logit = tl.dot(q_tail, k_tail, logit, input_precision="ieee")
        peak = tl.load(peaks + head * total + other, mask=valid, other=0.0)
        if GIVEN:
            # An infinite denominator leaves no probability defined.
            peak = tl.where(tl.abs(peak) == float("inf"), float("nan"), peak)
            attention = tl.exp2(logit * (scale * LOG2E) - (peak * LOG2E)[:, None])
        else:
            norm = tl.load(norms + head * total + other, mask=valid, other=1.0)
            attention = tl.exp2(logit * (scale * LOG2E) - peak[:, None]) / norm[:, None]
        column += tl.sum(tl.where(valid[:, None], attention, 0.0), 0)
    tl.store(partial + head * total + token, column, mask=inside)


@triton.jit(do_not_specialize=["total", "num_heads"])
def head_mean_kernel(partial, received, total, num_heads, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = token < total
    mean = tl.zeros((BLOCK,), tl.float32)
    for head in range(num_heads):
        mean += tl.load(partial + tl.cast(head, tl.int64) * total + token, mask=inside, other=0.0)
    tl.store(received + token, mean / num_heads, mask=inside)


def attention_received(
    query: Tensor, key: Tensor, cu_seqlens: Tensor, logsumexp: Tensor | None, scale: float, max_seqlen: int
) -> Tensor:
    """See `api.attention_received`."""
    total, num_heads, channels = query.shape
    head, tail = split_channels(channels)
    table = tiles(query.device)
    tile, mean = tile_of(table, query.dtype, channels), table["head_mean"]
    query, key, cu_seqlens = query.contiguous(), key.contiguous(), cu_seqlens.contiguous()
    float32 = functools.partial(torch.empty, dtype=torch.float32, device=query.device)
    received = float32(total)
    partial = float32(num_heads, total)
    segments = cu_seqlens.shape[0] - 1
    split = {"CHANNELS": channels, "HEAD": head, "TAIL": tail}
    given = logsumexp is not None
    peaks = logsumexp.contiguous() if logsumexp is not None else float32(num_heads, total)
    norms = peaks if given else float32(num_heads, total)
    if not given:
        launch(
            row_logsumexp_kernel,
            (triton.cdiv(max_seqlen, tile["QUERIES"]), segments, num_heads),
            query,
            key,
            cu_seqlens,
            peaks,
            norms,
            scale,
            total,
            num_heads,
            max_seqlen,
            **split,
            **tile.options,
        )
    launch(
        column_sum_kernel,
        (triton.cdiv(max_seqlen, tile["KEYS"]), segments, num_heads),
        query,
        key,
        cu_seqlens,
        peaks,
        norms,
        partial,
        scale,
        total,
        num_heads,
        max_seqlen,
        GIVEN=given,
        **split,
        **tile.options,
    )
    launch(
        head_mean_kernel,
        (triton.cdiv(total, mean["BLOCK"]),),
        partial,
        received,
        total,
        num_heads,
        **mean.options,
    )
    return received


HEAD_DIMS = (64, 72, 80, 96, 128, 256)


def _config(
    table: Table, kernel: object, name: str, dtype: torch.dtype, channels: int, **constants: bool
) -> KernelConfig:
    head, tail = split_channels(channels)
    tile = tile_of(table, dtype, channels)
    short = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
    outputs = ("peaks", "norms", "partial") if constants else ("peaks", "norms")
    return KernelConfig(
        f"{name}_{short}_d{channels}",
        kernel,
        {
            "query": f"*{short}",
            "key": f"*{short}",
            "cu_seqlens": "*i32",
            **dict.fromkeys(outputs, "*fp32"),
            "scale": "fp32",
            "total": "i32",
            "num_heads": "i32",
            "longest": "i32",
        },
        {"CHANNELS": channels, "HEAD": head, "TAIL": tail, **tile.blocks, **constants},
        expects=("wide_loads",) if dtype == torch.float32 else ("mma", "wide_loads"),
        **tile.limits,
    )


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    mean = table["head_mean"]
    return (
        *(
            config
            for dtype in (torch.float32, torch.bfloat16, torch.float16)
            for channels in HEAD_DIMS
            for config in (
                _config(table, row_logsumexp_kernel, "row_logsumexp", dtype, channels),
                _config(table, column_sum_kernel, "column_sum", dtype, channels, GIVEN=False),
                _config(table, column_sum_kernel, "column_sum_given", dtype, channels, GIVEN=True),
            )
        ),
        KernelConfig(
            "head_mean",
            head_mean_kernel,
            {"partial": "*fp32", "received": "*fp32", "total": "i32", "num_heads": "i32"},
            mean.blocks,
            **mean.limits,
        ),
    )
