"""query_relevance in two launches, split over the sequence.

First launch: a program per (block of keys, prompt, key head) reads its keys once and leaves, for every query head of
the group, the logits and their maximum and sum of exponentials. Second launch: a program per (block of tokens, prompt)
combines the partial sums of all blocks of its prompt and averages the probabilities over heads. A channel count that
is no power of two is read as two tiles, 80 = 64 + 16.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.ops.kernels import bounds, softmax_base
from seats_ops.ops.launch import KernelConfig, launch, split_channels
from seats_ops.ops.tile_tables import tiles
from seats_ops.ops.tiles import Table, Tile, width_case


def keys_of(table: Table, channels: int) -> Tile:
    """Keys per program, by what a key takes."""
    return table[f"query_logits/{width_case(sum(split_channels(channels)), narrowest=16)}"]


@triton.jit(do_not_specialize=["total", "num_parts", "num_heads", "group"])
def query_logits_kernel(
    query,
    key,
    cu_seqlens,
    logits,
    peaks,
    sums,
    scale,
    total,
    num_parts,
    num_heads,
    group,
    CHANNELS: tl.constexpr,
    HEAD: tl.constexpr,
    TAIL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    part = tl.program_id(0)
    row = tl.program_id(1).to(tl.int64)
    key_head = tl.program_id(2).to(tl.int64)
    num_key_heads = num_heads // group
    # No more than there are parts for, and the second launch reads no other.
    begin, end = bounds(cu_seqlens, row, total, tl.cast(num_parts, tl.int64) * BLOCK)
    first = begin + part.to(tl.int64) * BLOCK
    if first >= end:
        return
    lane = tl.arange(0, BLOCK)
    token = first + lane
    inside = lane < end - first

    head_channel = tl.arange(0, HEAD)
    # One 64-bit address for the block, 32-bit offsets inside it.
    source = key + (first * num_key_heads + key_head) * CHANNELS + (lane * (num_key_heads * CHANNELS))[:, None]
    k_head = tl.load(
        source + head_channel[None, :], mask=inside[:, None] & (head_channel < CHANNELS)[None, :], other=0.0
    )
    k_head = k_head.to(tl.float32)
    if TAIL > 0:
        tail_channel = HEAD + tl.arange(0, TAIL)
        in_tail = tail_channel < CHANNELS
        k_tail = tl.load(source + tail_channel[None, :], mask=inside[:, None] & in_tail[None, :], other=0.0)
        k_tail = k_tail.to(tl.float32)
    for member in range(group):
        head = key_head * group + member
        q = query + (row * num_heads + head) * CHANNELS
        # Scaled before the product, which overflows later then.
        q_head = tl.load(q + head_channel, mask=head_channel < CHANNELS, other=0.0).to(tl.float32) * scale
        logit = tl.sum(k_head * q_head[None, :], 1)
        if TAIL > 0:
            q_tail = tl.load(q + tail_channel, mask=in_tail, other=0.0).to(tl.float32) * scale
            logit += tl.sum(k_tail * q_tail[None, :], 1)
        tl.store(logits + head * total + token, logit, mask=inside)
        peak = tl.max(tl.where(inside, logit, float("-inf")), 0)
        slot = (row * num_heads + head) * num_parts + part
        tl.store(peaks + slot, peak)
        tl.store(sums + slot, tl.sum(tl.where(inside, tl.exp(logit - softmax_base(peak)), 0.0), 0))


@triton.jit(do_not_specialize=["total", "num_parts", "num_heads"])
def query_scores_kernel(
    logits,
    peaks,
    sums,
    cu_seqlens,
    scores,
    total,
    num_parts,
    num_heads,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(1).to(tl.int64)
    begin, end = bounds(cu_seqlens, row, total, tl.cast(num_parts, tl.int64) * BLOCK_KEYS)
    token = begin + tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = token < end
    if begin + tl.program_id(0).to(tl.int64) * BLOCK >= end:
        return
    used_parts = tl.cdiv(end - begin, BLOCK_KEYS)
    lane = tl.arange(0, BLOCK_PARTS)
    score = tl.zeros((BLOCK,), tl.float32)
    for head in range(num_heads):
        slot = (row * num_heads + head) * num_parts
        peak = tl.full((), float("-inf"), tl.float32)
        norm = tl.full((), 0.0, tl.float32)
        for start in range(0, used_parts, BLOCK_PARTS):
            used = start + lane < used_parts
            part_peak = tl.load(peaks + slot + start + lane, mask=used, other=float("-inf"))
            part_sum = tl.load(sums + slot + start + lane, mask=used, other=0.0)
            higher = tl.maximum(peak, tl.max(part_peak, 0))
            base = softmax_base(higher)
            norm = norm * tl.exp(peak - base) + tl.sum(part_sum * tl.exp(part_peak - base), 0)
            peak = higher
        logit = tl.load(logits + tl.cast(head, tl.int64) * total + token, mask=inside, other=float("-inf"))
        score += tl.exp(logit - peak) / norm
    tl.store(scores + token, score / num_heads, mask=inside)


def query_relevance(query: Tensor, key: Tensor, cu_seqlens: Tensor, scale: float, max_seqlen: int) -> Tensor:
    """See `api.query_relevance`."""
    rows, num_heads, channels = query.shape
    total, key_heads = key.shape[:2]
    head, tail = split_channels(channels)
    table = tiles(key.device)
    keys, out = keys_of(table, channels), table["query_scores"]
    num_parts = triton.cdiv(max_seqlen, keys["BLOCK"])
    float32 = functools.partial(torch.empty, dtype=torch.float32, device=key.device)
    scores = float32(total)
    logits = float32(num_heads, total)
    peaks = float32(rows, num_heads, num_parts)
    sums = torch.empty_like(peaks)
    launch(
        query_logits_kernel,
        (num_parts, rows, key_heads),
        query.contiguous(),
        key.contiguous(),
        cu_seqlens.contiguous(),
        logits,
        peaks,
        sums,
        scale,
        total,
        num_parts,
        num_heads,
        num_heads // key_heads,
        CHANNELS=channels,
        HEAD=head,
        TAIL=tail,
        **keys.options,
    )
    launch(
        query_scores_kernel,
        (triton.cdiv(max_seqlen, out["BLOCK"]), rows),
        logits,
        peaks,
        sums,
        cu_seqlens.contiguous(),
        scores,
        total,
        num_parts,
        num_heads,
        BLOCK_KEYS=keys["BLOCK"],
        **out.options,
    )
    return scores


HEAD_DIMS = (64, 80, 96, 128, 192, 256)


def _logits_config(table: Table, dtype: str, channels: int) -> KernelConfig:
    head, tail = split_channels(channels)
    keys = keys_of(table, channels)
    tensors = {"query": f"*{dtype}", "key": f"*{dtype}", "cu_seqlens": "*i32"}
    outputs = dict.fromkeys(("logits", "peaks", "sums"), "*fp32")
    sizes = {"scale": "fp32", **dict.fromkeys(("total", "num_parts", "num_heads", "group"), "i32")}
    return KernelConfig(
        f"query_logits_{dtype}_d{channels}",
        query_logits_kernel,
        {**tensors, **outputs, **sizes},
        {"CHANNELS": channels, "HEAD": head, "TAIL": tail, **keys.blocks},
        expects=("wide_loads",),
        **keys.limits,
    )


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    out = table["query_scores"]
    return (
        *(_logits_config(table, dtype, channels) for dtype in ("fp32", "bf16", "fp16") for channels in HEAD_DIMS),
        *(
            KernelConfig(
                f"query_scores_{block}",
                query_scores_kernel,
                {
                    **dict.fromkeys(("logits", "peaks", "sums"), "*fp32"),
                    "cu_seqlens": "*i32",
                    "scores": "*fp32",
                    **dict.fromkeys(("total", "num_parts", "num_heads"), "i32"),
                },
                {"BLOCK_KEYS": block, **out.blocks},
                **out.limits,
            )
            for block in sorted({keys_of(table, channels)["BLOCK"] for channels in HEAD_DIMS})
        ),
    )
