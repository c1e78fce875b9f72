"""greedy_dpp in one launch per pick, for segments of every length.

`variances` prepares norms. Every launch of `dpp_step` finds the last pick from the partial results of the launch before
it, computes the factor of its own tokens that the pick adds (a product with the features of the pick, less one with its
factors so far), lowers their variances by it, and leaves its best candidate; two buffers of partial results take turns.
A program reads nothing that any program of its launch writes: the factors of earlier launches, and of the pick, whose
variance nobody lowers, because it is no candidate any more. So it is the order of launches that makes it safe.

Launches: 2 + max_keep. Memory: for every token max_keep factors (float32, rounded up to 16), two floats and a flag; for
every segment 24 bytes for every TOKENS tokens of the longest one.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.ops.kernels import bounds
from seats_ops.ops.launch import KernelConfig, launch
from seats_ops.ops.tile_tables import tiles
from seats_ops.ops.tiles import Table

EPS = tl.constexpr(1e-8)
# Largest variance that counts as rounding.
NOISE = tl.constexpr(3e-5)
HIGHEST = tl.constexpr(3.4028234663852886e38)


@triton.jit
def _above_noise(variance):
    return tl.where(variance > NOISE, variance, 0.0)


@triton.jit
def _rows(features, index, first, lane, inside, channels, num_rows, INDEXED: tl.constexpr):
    """Where the rows of a block of tokens are, and which may be read; an index that names no row: a row of zeros."""
    if INDEXED:
        at = tl.load(index + first + lane, mask=inside, other=0).to(tl.int64)
        inside = inside & (at >= 0) & (at < num_rows)
        rows = features + at * channels
    else:
        # A 64-bit address once per block, 32-bit offsets inside it.
        rows = features + first * channels + lane * channels
    return rows, inside


@triton.jit(do_not_specialize=["total", "num_rows"])
def variances_kernel(
    features,
    index,
    inverse_norms,
    variances,
    channels,
    total,
    num_rows,
    INDEXED: tl.constexpr,
    TOKENS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * TOKENS
    lane = tl.arange(0, TOKENS)
    inside = first + lane < total
    rows, readable = _rows(features, index, first, lane, inside, channels, num_rows, INDEXED)
    channel = tl.arange(0, CHANNELS)
    squares = tl.zeros((TOKENS, CHANNELS), tl.float32)
    for start in range(0, channels, CHANNELS):
        mask = readable[:, None] & (start + channel < channels)[None, :]
        x = tl.load(rows[:, None] + (start + channel)[None, :], mask=mask, other=0.0).to(tl.float32)
        squares += x * x
    square = tl.sum(squares, 1)
    finite = (square == square) & (square < float("inf"))
    norm = tl.sqrt_rn(tl.where(finite, square, 0.0))
    # From the norm alone, so that it is exactly 1 for all norms that eps is small against, and ties are ties.
    length = tl.div_rn(norm, norm + EPS)
    tl.store(inverse_norms + first + lane, tl.div_rn(1.0, norm + EPS), mask=inside)
    tl.store(variances + first + lane, _above_noise(length * length), mask=inside)


@triton.jit
def _last_pick(values, tokens, used_parts, PARTS: tl.constexpr):
    """Place in its segment of the best candidate of all parts, the first one of equals."""
    best = tl.full((), float("-inf"), tl.float32)
    pick = tl.full((), 0, tl.int64)
    for offset in range(0, used_parts, PARTS):
        part = offset + tl.arange(0, PARTS)
        value = tl.load(values + part, mask=part < used_parts, other=float("-inf"))
        top = tl.max(value, 0)
        place = tl.load(tokens + offset + tl.argmax(value, 0))
        pick = tl.where(top > best, place, pick)
        best = tl.maximum(best, top)
    return pick


@triton.jit(do_not_specialize=["step", "num_parts", "total", "longest", "num_rows"])
def dpp_step_kernel(
    features,
    index,
    inverse_norms,
    variances,
    factors,
    quality,
    keep_mask,
    read_values,
    read_tokens,
    write_values,
    write_tokens,
    num_keep,
    cu_seqlens,
    channels,
    capacity,
    step,
    num_parts,
    total,
    longest,
    num_rows,
    WEIGHTED: tl.constexpr,
    INDEXED: tl.constexpr,
    TOKENS: tl.constexpr,
    CHANNELS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Step 0 only proposes; step s marks the pick of step s - 1, lowers variances by it and proposes again."""
    segment = tl.program_id(0).to(tl.int64)
    begin, end = bounds(cu_seqlens, segment, total, longest)
    length = end - begin
    wanted = tl.minimum(tl.load(num_keep + segment).to(tl.int64), length)
    used_parts = tl.cdiv(length, TOKENS)
    if (step > wanted) | (tl.program_id(1) >= used_parts):
        return
    slot = segment * num_parts
    place = tl.program_id(1).to(tl.int64) * TOKENS
    first = begin + place
    lane = tl.arange(0, TOKENS)
    inside = place + lane < length
    variance = tl.load(variances + first + lane, mask=inside, other=0.0)
    kept = tl.load(keep_mask + first + lane, mask=inside, other=0) != 0
    if step > 0:
        pick = begin + _last_pick(read_values + slot, read_tokens + slot, used_parts, PARTS)
        kept = kept | (first + lane == pick)
        tl.store(keep_mask + first + lane, kept, mask=inside)
        # Nothing follows the last pick that would want to know.
        if step < wanted:
            rows, readable = _rows(features, index, first, lane, inside, channels, num_rows, INDEXED)
            at = pick
            width = channels
            if INDEXED:
                at = tl.load(index + pick).to(tl.int64)
                width = tl.where((at >= 0) & (at < num_rows), channels, 0)
            picked_row = features + at * channels
            channel = tl.arange(0, CHANNELS)
            products = tl.zeros((TOKENS, CHANNELS), tl.float32)
            for start in range(0, width, CHANNELS):
                known = start + channel < width
                mask = readable[:, None] & known[None, :]
                x = tl.load(rows[:, None] + (start + channel)[None, :], mask=mask, other=0.0).to(tl.float32)
                y = tl.load(picked_row + start + channel, mask=known, other=0.0).to(tl.float32)
                products += x * y[None, :]
            own = factors + first * capacity + lane * capacity
            explained = tl.zeros((TOKENS, CHANNELS), tl.float32)
            for start in range(0, step - 1, CHANNELS):
                known = start + channel < step - 1
                mask = inside[:, None] & known[None, :]
                x = tl.load(own[:, None] + (start + channel)[None, :], mask=mask, other=0.0)
                y = tl.load(factors + pick * capacity + start + channel, mask=known, other=0.0)
                explained += x * y[None, :]
            mine = tl.load(inverse_norms + first + lane, mask=inside, other=0.0)
            similarity = tl.sum(products, 1) * mine * tl.load(inverse_norms + pick)
            spread = tl.load(variances + pick)
            # Nothing is explained by a token without variance, and of one without variance nothing is left to explain.
            usable = variance > tl.where(spread > 0, 0.0, float("inf"))
            root = tl.sqrt_rn(tl.where(spread > 0, spread, 1.0))
            factor = tl.where(usable, tl.div_rn(similarity - tl.sum(explained, 1), root), 0.0)
            tl.store(own + step - 1, factor, mask=inside)
            variance = _above_noise(variance - factor * factor)
            tl.store(variances + first + lane, variance, mask=inside & (first + lane != pick))
    # The root of q^2 v, which is ordered the same and does not overflow.
    value = tl.sqrt_rn(variance)
    if WEIGHTED:
        q = tl.load(quality + first + lane, mask=inside, other=0.0).to(tl.float32)
        # NaN and what is below 0 count as 0, infinity as the largest finite number.
        value = tl.where(q > 0, tl.minimum(q, HIGHEST), 0.0) * value
    value = tl.where(inside & (kept == 0), value, float("-inf"))
    tl.store(write_values + slot + tl.program_id(1), tl.max(value, 0))
    tl.store(write_tokens + slot + tl.program_id(1), place + tl.argmax(value, 0))


def greedy_dpp(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    quality: Tensor | None,
    index: Tensor | None,
    max_seqlen: int,
    max_keep: int,
) -> Tensor:
    """See `api.greedy_dpp`. `max_keep` gives the number of launches; nothing is read from the device."""
    total, num_segments = features.shape[0] if index is None else index.shape[0], num_keep.shape[0]
    keep_mask = torch.zeros(total, dtype=torch.bool, device=features.device)
    if not num_segments or not max_seqlen or not max_keep:
        return keep_mask
    features, cu_seqlens, num_keep = features.contiguous(), cu_seqlens.contiguous(), num_keep.contiguous()
    quality = None if quality is None else quality.contiguous()
    rows = num_keep if index is None else index.contiguous()
    num_rows, channels = features.shape
    float32 = functools.partial(torch.empty, dtype=torch.float32, device=features.device)
    inverse_norms, variances = float32(total), float32(total)
    # So that rows are read 128 bits at a time.
    capacity = triton.cdiv(max_keep, 16) * 16
    factors = float32(total, capacity)
    table = tiles(features.device)
    first, each = table["dpp_variances"], table["dpp_step"]
    num_parts = triton.cdiv(max_seqlen, each["TOKENS"])
    # Tensors of their own: slices of one would be aligned or not by their length, and kernels compiled for both.
    values = [float32(num_segments, num_parts) for _ in range(2)]
    tokens = [torch.empty(num_segments, num_parts, dtype=torch.int64, device=features.device) for _ in range(2)]
    launch(
        variances_kernel,
        (triton.cdiv(total, first["TOKENS"]),),
        features,
        rows,
        inverse_norms,
        variances,
        channels,
        total,
        num_rows,
        INDEXED=index is not None,
        **first.options,
    )
    for step in range(max_keep + 1):
        new, old = step % 2, (step + 1) % 2
        launch(
            dpp_step_kernel,
            (num_segments, num_parts),
            features,
            rows,
            inverse_norms,
            variances,
            factors,
            variances if quality is None else quality,
            keep_mask,
            values[old],
            tokens[old],
            values[new],
            tokens[new],
            num_keep,
            cu_seqlens,
            channels,
            capacity,
            step,
            num_parts,
            total,
            max_seqlen,
            num_rows,
            WEIGHTED=quality is not None,
            INDEXED=index is not None,
            **each.options,
        )
    return keep_mask


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    sizes = dict.fromkeys(("total", "num_rows"), "i32")
    return tuple(
        config
        for dtype in ("fp32", "bf16", "fp16")
        for indexed in (False, True)
        for suffix in (f"{dtype}{'_indexed' if indexed else ''}",)
        for config in (
            KernelConfig(
                f"dpp_variances_{suffix}",
                variances_kernel,
                {
                    "features": f"*{dtype}",
                    "index": "*i64",
                    "inverse_norms": "*fp32",
                    "variances": "*fp32",
                    "channels": "i32",
                    **sizes,
                },
                {"INDEXED": indexed, **table["dpp_variances"].blocks},
                expects=("wide_loads",),
                **table["dpp_variances"].limits,
            ),
            *(
                KernelConfig(
                    f"dpp_step_{suffix}{'' if weighted else '_unweighted'}",
                    dpp_step_kernel,
                    {
                        "features": f"*{dtype}",
                        "index": "*i64",
                        **dict.fromkeys(("inverse_norms", "variances", "factors", "quality"), "*fp32"),
                        "keep_mask": "*i1",
                        "read_values": "*fp32",
                        "read_tokens": "*i64",
                        "write_values": "*fp32",
                        "write_tokens": "*i64",
                        "num_keep": "*i64",
                        "cu_seqlens": "*i32",
                        **dict.fromkeys(("channels", "capacity", "step", "num_parts", "total"), "i32"),
                        **dict.fromkeys(("longest", "num_rows"), "i32"),
                    },
                    {"WEIGHTED": weighted, "INDEXED": indexed, **table["dpp_step"].blocks},
                    expects=("wide_loads",),
                    **table["dpp_step"].limits,
                )
                for weighted in (True, False)
            ),
        )
    )
