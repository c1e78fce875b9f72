"""max_min_diversity for windows too long for a matrix of distances: bounded memory, one launch per pick.

`norms` and `second_smallest` prepare (the latter is a matrix product whose result is reduced at once). Every launch
of `step` finds the last pick from the partial results of the launch before it, lowers the minimum of its own tokens by
the distance to that pick, and leaves its best candidate; two buffers of partial results take turns. Extra memory: two
floats and a flag per token, 24 bytes per window for every 32 tokens of the longest one, and with an index a copy of the
features it names.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.ops.kernels import bounds
from seats_ops.ops.launch import KernelConfig, launch
from seats_ops.ops.max_min_diversity.distance import (
    EPS,
    FARTHEST,
    LOWEST,
    cosine_distance,
    sane_weight,
    two_smallest,
)
from seats_ops.ops.tile_tables import tiles
from seats_ops.ops.tiles import Table, number_case


@triton.jit(do_not_specialize=["total"])
def norms_kernel(features, inverse_norms, total, channels, TOKENS: tl.constexpr, CHANNELS: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * TOKENS
    lane = tl.arange(0, TOKENS)
    token = first + lane
    features += first * channels
    channel = tl.arange(0, CHANNELS)
    square = tl.zeros((TOKENS,), tl.float32)
    for start in range(0, channels, CHANNELS):
        inside = (token < total)[:, None] & (start + channel < channels)[None, :]
        x = tl.load(features + (lane * channels)[:, None] + (start + channel)[None, :], mask=inside, other=0.0)
        x = x.to(tl.float32)
        square += tl.sum(x * x, 1)
    finite = (square == square) & (square < float("inf"))
    inverse = tl.div_rn(1.0, tl.sqrt_rn(square) + EPS)
    tl.store(inverse_norms + token, tl.where(finite, inverse, float("nan")), mask=token < total)


@triton.jit(do_not_specialize=["total", "longest"])
def second_smallest_kernel(
    features,
    inverse_norms,
    second_smallest,
    cu_seqlens,
    channels,
    total,
    longest,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    begin, end = bounds(cu_seqlens, tl.program_id(1), total, longest)
    length = end - begin
    if tl.program_id(0) * BLOCK >= length:
        return
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inverse_rows = tl.load(inverse_norms + begin + row, mask=row < length, other=0.0)
    channel = tl.arange(0, CHANNELS)
    lane = tl.arange(0, BLOCK)
    # 64-bit addresses once per block of rows, 32-bit offsets inside it.
    own = features + (begin + tl.program_id(0).to(tl.int64) * BLOCK) * channels
    rows = own + (lane * channels)[:, None]
    first = tl.full((BLOCK,), float("inf"), tl.float32)
    second = tl.full((BLOCK,), float("inf"), tl.float32)
    for offset in range(0, length, BLOCK):
        column = tl.cast(offset, tl.int64) + lane
        columns = features + (begin + offset) * channels + (lane * channels)[:, None]
        product = tl.zeros((BLOCK, BLOCK), tl.float32)
        for start in range(0, channels, CHANNELS):
            inside = (start + channel < channels)[None, :]
            a = tl.load(rows + (start + channel)[None, :], mask=(row < length)[:, None] & inside, other=0.0)
            b = tl.load(columns + (start + channel)[None, :], mask=(column < length)[:, None] & inside, other=0.0)
            product = tl.dot(a, tl.trans(b), product, input_precision="ieee")
        inverse_columns = tl.load(inverse_norms + begin + column, mask=column < length, other=0.0)
        distance = cosine_distance(product, inverse_rows, inverse_columns)
        distance = tl.where(
            distance != distance, tl.where(inverse_rows != inverse_rows, 0.0, FARTHEST)[:, None], distance
        )
        first, second = two_smallest(first, second, tl.where((column < length)[None, :], distance, float("inf")), lane)
    second = tl.where(second < float("inf"), second, 0.0)
    tl.store(second_smallest + begin + row, second, mask=row < length)


@triton.jit(do_not_specialize=["step", "num_parts", "total", "longest"])
def step_kernel(
    features,
    inverse_norms,
    weights,
    nearest,
    keep_mask,
    read_values,
    read_tokens,
    write_values,
    write_tokens,
    num_keep,
    cu_seqlens,
    channels,
    step,
    num_parts,
    total,
    longest,
    WEIGHTED: tl.constexpr,
    TOKENS: tl.constexpr,
    CHANNELS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Step 0 only proposes; step s marks the pick of step s - 1, measures to it and proposes again."""
    window = tl.program_id(1).to(tl.int64)
    begin, end = bounds(cu_seqlens, window, total, longest)
    length = end - begin
    wanted = tl.minimum(tl.load(num_keep + window).to(tl.int64), length)
    used_parts = tl.cdiv(length, TOKENS)
    if (step > wanted) | (tl.program_id(0) >= used_parts):
        return
    slot = window * num_parts
    first = tl.program_id(0).to(tl.int64) * TOKENS
    lane = tl.arange(0, TOKENS)
    token = first + lane
    inside = token < length
    near = tl.load(nearest + begin + token, mask=inside, other=0.0)
    kept = tl.load(keep_mask + begin + token, mask=inside, other=0) != 0
    if step > 0:
        best = tl.full((), float("-inf"), tl.float32)
        pick = tl.full((), 0, tl.int64)
        for offset in range(0, used_parts, PARTS):
            part = offset + tl.arange(0, PARTS)
            value = tl.load(read_values + slot + part, mask=part < used_parts, other=float("-inf"))
            top = tl.max(value, 0)
            place = tl.load(read_tokens + slot + offset + tl.argmax(value, 0))
            pick = tl.where(top > best, place, pick)
            best = tl.maximum(best, top)
        product = tl.zeros((TOKENS,), tl.float32)
        channel = tl.arange(0, CHANNELS)
        for start in range(0, channels, CHANNELS):
            known = start + channel < channels
            x = tl.load(
                features + (begin + first) * channels + (lane * channels)[:, None] + (start + channel)[None, :],
                mask=inside[:, None] & known[None, :],
                other=0.0,
            )
            y = tl.load(features + (begin + pick) * channels + start + channel, mask=known, other=0.0)
            product += tl.sum(x.to(tl.float32) * y.to(tl.float32)[None, :], 1)
        mine = tl.load(inverse_norms + begin + token, mask=inside, other=0.0)
        its = tl.load(inverse_norms + begin + pick)
        distance = 1.0 - product * mine * its
        distance = tl.where(distance != distance, tl.where(mine != mine, 0.0, FARTHEST), distance)
        near = tl.where(step == 1, distance, tl.minimum(near, distance))
        tl.store(nearest + begin + token, near, mask=inside)
        kept = kept | (token == pick)
        tl.store(keep_mask + begin + token, kept, mask=inside)
    weight = tl.full((TOKENS,), 1.0, tl.float32)
    if WEIGHTED:
        weight = sane_weight(tl.load(weights + begin + token, mask=inside, other=0.0).to(tl.float32))
    value = tl.maximum(weight * near, LOWEST)
    value = tl.where(inside & (kept == 0), value, float("-inf"))
    tl.store(write_values + slot + tl.program_id(0), tl.max(value, 0))
    own = tl.program_id(0).to(tl.int64) * TOKENS + tl.argmax(value, 0)
    tl.store(write_tokens + slot + tl.program_id(0), own)


def max_min_large(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    weights: Tensor | None,
    max_seqlen: int,
    max_keep: int | None,
    first: str,
) -> Tensor:
    """See `api.max_min_diversity`. `max_keep` gives the number of launches; nothing is read from the device."""
    features, cu_seqlens, num_keep = features.contiguous(), cu_seqlens.contiguous(), num_keep.contiguous()
    weights = None if weights is None else weights.contiguous()
    total, channels = features.shape
    num_windows = num_keep.shape[0]
    float32 = functools.partial(torch.empty, dtype=torch.float32, device=features.device)
    keep_mask = torch.zeros(total, dtype=torch.bool, device=features.device)
    inverse_norms = float32(total)
    # At distance 1 of everything, the token with the largest weight is the first one.
    nearest = float32(total) if first == "spread" else torch.ones_like(inverse_norms)
    table = tiles(features.device)
    norm, pair, single = table["norms"], table[f"second_smallest/{number_case(features.dtype)}"], table["step"]
    num_parts = triton.cdiv(max_seqlen, single["TOKENS"])
    # Tensors of their own: slices of one would be aligned or not by their length, and kernels compiled for both.
    values = [float32(num_windows, num_parts) for _ in range(2)]
    tokens = [torch.empty(num_windows, num_parts, dtype=torch.int64, device=features.device) for _ in range(2)]
    launch(
        norms_kernel,
        (triton.cdiv(total, norm["TOKENS"]),),
        features,
        inverse_norms,
        total,
        channels,
        **norm.options,
    )
    if first == "spread":
        launch(
            second_smallest_kernel,
            (triton.cdiv(max_seqlen, pair["BLOCK"]), num_windows),
            features,
            inverse_norms,
            nearest,
            cu_seqlens,
            channels,
            total,
            max_seqlen,
            **pair.options,
        )
    for step in range(min(max_seqlen if max_keep is None else max_keep, max_seqlen) + 1):
        new, old = step % 2, (step + 1) % 2
        launch(
            step_kernel,
            (num_parts, num_windows),
            features,
            inverse_norms,
            inverse_norms if weights is None else weights,
            nearest,
            keep_mask,
            values[old],
            tokens[old],
            values[new],
            tokens[new],
            num_keep,
            cu_seqlens,
            channels,
            step,
            num_parts,
            total,
            max_seqlen,
            WEIGHTED=weights is not None,
            **single.options,
        )
    return keep_mask


_SIZES = {"cu_seqlens": "*i32", "channels": "i32"}
_BOUNDS = {"total": "i32", "longest": "i32"}


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    return (
        *(
            KernelConfig(
                f"norms_{dtype}",
                norms_kernel,
                {"features": f"*{dtype}", "inverse_norms": "*fp32", "total": "i32", "channels": "i32"},
                table["norms"].blocks,
                expects=("wide_loads",),
                **table["norms"].limits,
            )
            for dtype in ("fp32", "bf16", "fp16")
        ),
        *(
            KernelConfig(
                f"second_smallest_{dtype}",
                second_smallest_kernel,
                {"features": f"*{dtype}", "inverse_norms": "*fp32", "second_smallest": "*fp32", **_SIZES, **_BOUNDS},
                pair.blocks,
                expects=("wide_loads",) if dtype == "fp32" else ("mma", "wide_loads"),
                **pair.limits,
            )
            for dtype, case in (("fp32", "fp32"), ("bf16", "16bit"), ("fp16", "16bit"))
            for pair in (table[f"second_smallest/{case}"],)
        ),
        *(
            KernelConfig(
                f"step_{dtype}{'' if weighted else '_unweighted'}",
                step_kernel,
                {
                    "features": f"*{dtype}",
                    **dict.fromkeys(("inverse_norms", "weights", "nearest"), "*fp32"),
                    "keep_mask": "*i1",
                    "read_values": "*fp32",
                    "read_tokens": "*i64",
                    "write_values": "*fp32",
                    "write_tokens": "*i64",
                    "num_keep": "*i64",
                    **_SIZES,
                    "step": "i32",
                    "num_parts": "i32",
                    **_BOUNDS,
                },
                {"WEIGHTED": weighted, **table["step"].blocks},
                expects=("wide_loads",),
                **table["step"].limits,
            )
            for dtype in ("fp32", "bf16", "fp16")
            for weighted in (True, False)
        ),
    )
