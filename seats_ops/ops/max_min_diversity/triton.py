"""max_min_diversity in three launches for windows of up to MAX_MATRIX tokens.

1. `gram`: a matrix product per pair of row blocks and window; its diagonal gives the norms. 2. `distances`: a pass over
the matrix turns products into cosine distances in place and leaves the second smallest of every row. 3. `greedy`: one
program per window keeps minimum, weight and candidates in registers and reads one row of distances per pick; it reads
nothing that it wrote. The matrices have a padded leading dimension, so that rows are read 128 bits at a time; those of
a clip fit the L2 cache together, and windows that would need more than MATRIX_BYTES are taken in chunks. Longer windows
go through `large.py`.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.backend import MAX_GRID
from seats_ops.ops.kernels import bounds
from seats_ops.ops.launch import KernelConfig, launch, next_power_of_2
from seats_ops.ops.max_min_diversity.distance import (
    EPS,
    FARTHEST,
    LOWEST,
    cosine_distance,
    sane_weight,
    two_smallest,
)
from seats_ops.ops.max_min_diversity.large import max_min_large
from seats_ops.ops.max_min_diversity.op import MAX_MATRIX
from seats_ops.ops.tile_tables import tiles
from seats_ops.ops.tiles import Table, number_case

# A number of tokens or rows that bounds nothing.
UNKNOWN = 2**62
# Bytes of distances held at once: 600 000 tokens in windows of 400, whose three launches then cover all windows.
MATRIX_BYTES = 2**30


@triton.jit
def _window(cu_seqlens, first_window, program, total, ld):
    """Where the window of a program begins, and its length (int64); programs count from the chunk's first window.

    A window has at most the `ld` tokens that its matrix has room for.
    """
    begin, end = bounds(cu_seqlens, tl.cast(first_window, tl.int64) + program, total, ld)
    return begin, end - begin


@triton.jit(do_not_specialize=["first_window", "total", "num_rows"])
def gram_kernel(
    features,
    index,
    cu_seqlens,
    matrix,
    inverse_norms,
    first_window,
    channels,
    row_stride,
    ld,
    INDEXED: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    total=UNKNOWN,
    num_rows=UNKNOWN,
):
    begin, length = _window(cu_seqlens, first_window, tl.program_id(2), total, ld)
    # At most ld: rows are compared with it in 32 bits, which takes fewer registers.
    length = length.to(tl.int32)
    matrix += tl.program_id(2).to(tl.int64) * ld * ld
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    if (tl.program_id(0) * BLOCK >= length) | (tl.program_id(1) * BLOCK >= length):
        return
    channel = tl.arange(0, BLOCK_CHANNELS)
    product = tl.zeros((BLOCK, BLOCK), tl.float32)
    read_row, read_column = row < length, column < length
    if INDEXED:
        row_at = tl.load(index + begin + row, mask=read_row, other=0).to(tl.int64)
        column_at = tl.load(index + begin + column, mask=read_column, other=0).to(tl.int64)
        # An index that names no row counts as a row of zeros.
        read_row = read_row & (row_at >= 0) & (row_at < num_rows)
        read_column = read_column & (column_at >= 0) & (column_at < num_rows)
    else:
        # 64-bit addresses once per window: a window has at most MAX_MATRIX rows, whose offsets fit 32 bits.
        features += begin * row_stride
        row_at, column_at = row, column
    rows = features + (row_at * row_stride)[:, None]
    columns = features + (column_at * row_stride)[:, None]
    for start in range(0, channels, BLOCK_CHANNELS):
        inside = (start + channel < channels)[None, :]
        a = tl.load(rows + (start + channel)[None, :], mask=read_row[:, None] & inside, other=0.0)
        b = tl.load(columns + (start + channel)[None, :], mask=read_column[:, None] & inside, other=0.0)
        product = tl.dot(a, tl.trans(b), product, input_precision="ieee")
    valid = (row < length)[:, None] & (column < ld)[None, :]
    tl.store(matrix + row[:, None] * ld + column[None, :], product, mask=valid)
    if tl.program_id(0) == tl.program_id(1):
        square = tl.sum(tl.where(row[:, None] == column[None, :], product, 0.0), 1)
        # A NaN marks tokens that have no direction.
        finite = (square == square) & (square < float("inf"))
        inverse = tl.div_rn(1.0, tl.sqrt_rn(square) + EPS)
        tl.store(inverse_norms + begin + row, tl.where(finite, inverse, float("nan")), mask=row < length)


@triton.jit(do_not_specialize=["first_window", "total"])
def distances_kernel(
    matrix,
    inverse_norms,
    cu_seqlens,
    second_smallest,
    first_window,
    ld,
    total,
    BLOCK_OWN: tl.constexpr,
    BLOCK_WALK: tl.constexpr,
):
    begin, length = _window(cu_seqlens, first_window, tl.program_id(1), total, ld)
    if tl.program_id(0) * BLOCK_OWN >= length:
        return
    matrix += tl.program_id(1).to(tl.int64) * ld * ld
    row = tl.program_id(0) * BLOCK_OWN + tl.arange(0, BLOCK_OWN)
    inverse_rows = tl.load(inverse_norms + begin + row, mask=row < length, other=0.0)
    first = tl.full((BLOCK_OWN,), float("inf"), tl.float32)
    second = tl.full((BLOCK_OWN,), float("inf"), tl.float32)
    lane = tl.arange(0, BLOCK_WALK)
    for start in range(0, ld, BLOCK_WALK):
        column = start + lane
        cell = matrix + row[:, None] * ld + column[None, :]
        stored = (row < length)[:, None] & (column < ld)[None, :]
        product = tl.load(cell, mask=stored, other=0.0)
        inverse_columns = tl.load(inverse_norms + begin + column, mask=column < length, other=0.0)
        distance = cosine_distance(product, inverse_rows, inverse_columns)
        undefined = distance != distance
        odd_row, odd_column = inverse_rows != inverse_rows, inverse_columns != inverse_columns
        from_row = tl.where(undefined, tl.where(odd_column, 0.0, FARTHEST)[None, :], distance)
        tl.store(cell, from_row, mask=stored)
        to_row = tl.where(undefined, tl.where(odd_row, 0.0, FARTHEST)[:, None], distance)
        block = tl.where((column < length)[None, :], to_row, float("inf"))
        first, second = two_smallest(first, second, block, lane)
    # A window of one token has no second entry; any finite number serves its only candidate.
    second = tl.where(second < float("inf"), second, 0.0)
    tl.store(second_smallest + begin + row, second, mask=row < length)


@triton.jit(do_not_specialize=["first_window", "total"])
def greedy_kernel(
    matrix,
    second_smallest,
    weights,
    cu_seqlens,
    num_keep,
    keep_mask,
    first_window,
    ld,
    total,
    WEIGHTED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    begin, length = _window(cu_seqlens, first_window, tl.program_id(0), total, ld)
    matrix += tl.program_id(0).to(tl.int64) * ld * ld
    token = tl.arange(0, BLOCK)
    inside = token < length
    nearest = tl.load(second_smallest + begin + token, mask=inside, other=0.0)
    weight = tl.full((BLOCK,), 1.0, tl.float32)
    if WEIGHTED:
        weight = sane_weight(tl.load(weights + begin + token, mask=inside, other=0.0).to(tl.float32))
    candidate = inside
    steps = tl.minimum(tl.load(num_keep + first_window + tl.program_id(0)).to(tl.int64), length)
    for step in range(0, steps):
        value = tl.maximum(weight * nearest, LOWEST)
        pick = tl.argmax(tl.where(candidate, value, float("-inf")), 0)
        candidate = candidate & (token != pick)
        row = tl.load(matrix + pick.to(tl.int64) * ld + token, mask=token < ld, other=0.0)
        nearest = tl.where(step == 0, row, tl.minimum(nearest, row))
    tl.store(keep_mask + begin + token, inside & (candidate == 0), mask=inside)


def _rows(features: Tensor, index: Tensor) -> Tensor:
    """[T, D]: the rows that an index names; one that is no row takes the nearest, which is inside the tensor."""
    index = index.long()
    nearest = index.clamp(0, features.shape[0] - 1)
    return features[nearest]


def max_min_diversity(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    weights: Tensor | None,
    index: Tensor | None,
    max_seqlen: int,
    max_keep: int | None,
    first: str,
) -> Tensor:
    """See `api.max_min_diversity`."""
    num_windows = num_keep.shape[0]
    if num_windows and max_seqlen > MAX_MATRIX:
        packed = features if index is None else _rows(features, index)
        return max_min_large(packed, cu_seqlens, num_keep, weights, max_seqlen, max_keep, first)
    total = features.shape[0] if index is None else index.shape[0]
    keep_mask = torch.empty(total, dtype=torch.bool, device=features.device)
    if not num_windows or not max_seqlen:
        return keep_mask
    features, cu_seqlens, num_keep = features.contiguous(), cu_seqlens.contiguous(), num_keep.contiguous()
    weights = None if weights is None else weights.contiguous()
    index = None if index is None else index.contiguous()
    channels = features.shape[1]
    ld = triton.cdiv(max_seqlen, 16) * 16
    chunk = min(MAX_GRID, max(1, MATRIX_BYTES // (4 * ld * ld)))
    float32 = functools.partial(torch.empty, dtype=torch.float32, device=features.device)
    matrix = float32(min(chunk, num_windows), ld, ld)
    inverse_norms = float32(total)
    second_smallest = torch.empty_like(inverse_norms)
    # At distance 1 of everything, the token with the largest weight is the first one.
    nearest = second_smallest if first == "spread" else torch.ones_like(inverse_norms)
    block = max(64, next_power_of_2(ld))
    table = tiles(features.device)
    gram, distances = table[f"gram/{number_case(features.dtype)}"], table["distances"]
    greedy = table[f"greedy/{block}"]
    blocks = triton.cdiv(max_seqlen, gram["BLOCK"])
    for start in range(0, num_windows, chunk):
        here = min(chunk, num_windows - start)
        launch(
            gram_kernel,
            (blocks, blocks, here),
            features,
            num_keep if index is None else index,
            cu_seqlens,
            matrix,
            inverse_norms,
            start,
            channels,
            channels,
            ld,
            INDEXED=index is not None,
            total=total,
            num_rows=features.shape[0],
            **gram.options,
        )
        launch(
            distances_kernel,
            (triton.cdiv(max_seqlen, distances["BLOCK_OWN"]), here),
            matrix,
            inverse_norms,
            cu_seqlens,
            second_smallest,
            start,
            ld,
            total,
            **distances.options,
        )
        launch(
            greedy_kernel,
            (here,),
            matrix,
            nearest,
            nearest if weights is None else weights,
            cu_seqlens,
            num_keep,
            keep_mask,
            start,
            ld,
            total,
            WEIGHTED=weights is not None,
            BLOCK=block,
            **greedy.options,
        )
    return keep_mask


GREEDY_BLOCKS = (64, 128, 256, 512, 1024, 2048, 4096)


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    return (
        *(
            KernelConfig(
                f"gram_{dtype}{'_indexed' if indexed else ''}",
                gram_kernel,
                {
                    "features": f"*{dtype}",
                    "index": "*i64",
                    "cu_seqlens": "*i32",
                    "matrix": "*fp32",
                    "inverse_norms": "*fp32",
                    "first_window": "i32",
                    "channels": "i32",
                    "row_stride": "i32",
                    "ld": "i32",
                    "total": "i32",
                    "num_rows": "i32",
                },
                {"INDEXED": indexed, **gram.blocks},
                expects=("wide_loads",) if dtype == "fp32" else ("mma", "wide_loads"),
                **gram.limits,
            )
            for dtype, gram in (
                ("fp32", table["gram/fp32"]),
                *((short, table["gram/16bit"]) for short in ("bf16", "fp16")),
            )
            for indexed in (False, True)
        ),
        KernelConfig(
            "distances",
            distances_kernel,
            {
                "matrix": "*fp32",
                "inverse_norms": "*fp32",
                "cu_seqlens": "*i32",
                "second_smallest": "*fp32",
                "first_window": "i32",
                "ld": "i32",
                "total": "i32",
            },
            table["distances"].blocks,
            expects=("wide_loads",),
            **table["distances"].limits,
        ),
        *(
            KernelConfig(
                f"greedy_{block}{'' if weighted else '_unweighted'}",
                greedy_kernel,
                {
                    "matrix": "*fp32",
                    "second_smallest": "*fp32",
                    "weights": "*fp32",
                    "cu_seqlens": "*i32",
                    "num_keep": "*i64",
                    "keep_mask": "*i1",
                    "first_window": "i32",
                    "ld": "i32",
                    "total": "i32",
                },
                {"WEIGHTED": weighted, "BLOCK": block},
                expects=("wide_loads",) if block >= 256 else (),
                **table[f"greedy/{block}"].limits,
            )
            for block in GREEDY_BLOCKS
            for weighted in (True, False)
        ),
    )
