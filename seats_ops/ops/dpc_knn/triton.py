"""dpc_knn in three launches, without a matrix of distances: tiles of products are made where they are needed, twice.

A program is a block of tokens of one segment that walks over all blocks of the segment. First launch: squared norms,
NaN for a token that does not count. Second: the distances of a block's rows, of which the smallest are kept in a list,
and the densities. Third: the distances again, for the nearest denser token. Memory beyond the tensors is three floats a
token, whatever the lengths.

The squared norm of a token is its product with itself, made as all products are made, so that it equals the product of
two equal tokens bit by bit, and their distance is exactly 0.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.ops.dpc_knn.op import MAX_NEIGHBORS
from seats_ops.ops.kernels import bounds
from seats_ops.ops.launch import KernelConfig, launch
from seats_ops.ops.tile_tables import tiles
from seats_ops.ops.tiles import Table, number_case

EPS = tl.constexpr(1e-8)
OFFSET_EPS = tl.constexpr(1e-6)
HIGHEST = tl.constexpr(3.4028234663852886e38)
# What stays as it is in all calls of a kernel, or may be anything without another kernel being compiled.
COUNTS = ["total", "longest", "num_rows", "num_coordinates", "indexed", "cosine"]


@triton.jit
def _rows_of(features, index, begin, length, token, channels, num_rows, indexed):
    """Addresses of the features of some tokens of a segment, as a column, and which of them may be read."""
    at = tl.load(index + begin + token, mask=token < tl.where(indexed != 0, length, 0), other=0).to(tl.int64)
    at = tl.where(indexed != 0, at, begin + token)
    # An index that names no row counts as a row of zeros.
    return features + (at * channels)[:, None], (token < length) & (at >= 0) & (at < num_rows)


@triton.jit
def _products(rows, read_rows, columns, read_columns, channels, BLOCK: tl.constexpr, CHANNELS: tl.constexpr):
    channel = tl.arange(0, CHANNELS)
    product = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, channels, CHANNELS):
        inside = (start + channel < channels)[None, :]
        a = tl.load(rows + (start + channel)[None, :], mask=read_rows[:, None] & inside, other=0.0)
        b = tl.load(columns + (start + channel)[None, :], mask=read_columns[:, None] & inside, other=0.0)
        product = tl.dot(a, tl.trans(b), product, input_precision="ieee")
    return product


@triton.jit
def _of_norm(square, cosine):
    """What a token is multiplied by, its squared norm then, and half of what its cosine with itself lacks to 1."""
    square = tl.where(square == square, square, 0.0)
    norm = tl.sqrt_rn(square)
    share = tl.div_rn(norm, norm + EPS)
    factor = tl.where(cosine != 0, tl.div_rn(1.0, norm + EPS), 1.0)
    return factor, square * factor * factor, tl.where(cosine != 0, (1.0 - share * share) * 0.5, 0.0)


@triton.jit
def _distance(product, row_squares, column_squares, root, cosine):
    row_factor, row_square, row_lack = _of_norm(row_squares, cosine)
    column_factor, column_square, column_lack = _of_norm(column_squares, cosine)
    product = product * row_factor[:, None] * column_factor[None, :]
    # Two differences, none of which is infinity less infinity.
    apart = (row_square[:, None] - product) + (column_square[None, :] - product)
    apart = tl.where(apart > 0.0, apart, 0.0)
    by_angle = apart * 0.5 + (row_lack[:, None] + column_lack[None, :])
    return tl.where(cosine != 0, by_angle, tl.div_rn(tl.sqrt_rn(apart), root))


@triton.jit
def _away(offsets, begin, length, row, column, num_coordinates, BLOCK: tl.constexpr):
    """Distances of the offsets."""
    square = tl.zeros((BLOCK, BLOCK), tl.float32)
    for coordinate in range(0, num_coordinates):
        at = offsets + begin * num_coordinates + coordinate
        own = tl.load(at + row.to(tl.int64) * num_coordinates, mask=row < length, other=0.0).to(tl.float32)
        other = tl.load(at + column.to(tl.int64) * num_coordinates, mask=column < length, other=0.0).to(tl.float32)
        difference = own[:, None] - other[None, :]
        square += difference * difference
    return tl.minimum(tl.sqrt_rn(square), HIGHEST)


@triton.jit
def _tile(
    rows,
    read_rows,
    row,
    row_squares,
    farthest,
    features,
    index,
    squares,
    offsets,
    begin,
    length,
    column,
    channels,
    num_rows,
    num_coordinates,
    offset_weight,
    root,
    indexed,
    cosine,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Distances of a block of rows to a block of columns, and which columns count."""
    columns, read_columns = _rows_of(features, index, begin, length, column, channels, num_rows, indexed)
    product = _products(rows, read_rows, columns, read_columns, channels, BLOCK, CHANNELS)
    column_squares = tl.load(squares + begin + column, mask=column < length, other=float("nan"))
    distance = _distance(product, row_squares, column_squares, root, cosine)
    if num_coordinates > 0:
        away = _away(offsets, begin, length, row, column, num_coordinates, BLOCK)
        distance += offset_weight * tl.div_rn(away, tl.zeros_like(away) + (farthest + OFFSET_EPS)[:, None])
    return tl.minimum(distance, HIGHEST), column_squares == column_squares


@triton.jit(do_not_specialize=COUNTS)
def squares_kernel(
    features,
    index,
    cu_seqlens,
    offsets,
    squares,
    channels,
    total,
    longest,
    num_rows,
    num_coordinates,
    indexed,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    begin, end = bounds(cu_seqlens, tl.program_id(0).to(tl.int64), total, longest)
    length = (end - begin).to(tl.int32)
    first = tl.program_id(1) * BLOCK
    if first >= length:
        return
    lane = tl.arange(0, BLOCK)
    row = first + lane
    rows, read = _rows_of(features, index, begin, length, row, channels, num_rows, indexed)
    product = _products(rows, read, rows, read, channels, BLOCK, CHANNELS)
    square = tl.sum(tl.where(lane[:, None] == lane[None, :], product, 0.0), 1)
    place = tl.zeros((BLOCK,), tl.float32)
    for coordinate in range(0, num_coordinates):
        at = offsets + (begin + row) * num_coordinates + coordinate
        value = tl.load(at, mask=row < length, other=0.0).to(tl.float32)
        place += value * value
    # NaN is below nothing.
    counts = (square < float("inf")) & (place < float("inf"))
    tl.store(squares + begin + row, tl.where(counts, square, float("nan")), mask=row < length)


@triton.jit(do_not_specialize=[*COUNTS, "num_neighbors", "include_self", "squared", "scaled"])
def density_kernel(
    features,
    index,
    cu_seqlens,
    squares,
    offsets,
    scale,
    farthest,
    density,
    channels,
    total,
    longest,
    num_rows,
    num_coordinates,
    num_neighbors,
    offset_weight,
    root,
    indexed,
    cosine,
    include_self,
    squared,
    scaled,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
    NEIGHBORS: tl.constexpr,
):
    begin, end = bounds(cu_seqlens, tl.program_id(0).to(tl.int64), total, longest)
    length = (end - begin).to(tl.int32)
    first = tl.program_id(1) * BLOCK
    if first >= length:
        return
    lane = tl.arange(0, BLOCK)
    row = first + lane
    rows, read_rows = _rows_of(features, index, begin, length, row, channels, num_rows, indexed)
    row_squares = tl.load(squares + begin + row, mask=row < length, other=float("nan"))
    counts = (row_squares == row_squares)[:, None]
    most = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, tl.where(num_coordinates > 0, length, 0), BLOCK):
        column = start + lane
        column_squares = tl.load(squares + begin + column, mask=column < length, other=float("nan"))
        away = _away(offsets, begin, length, row, column, num_coordinates, BLOCK)
        away = tl.where((column_squares == column_squares)[None, :] & counts, away, 0.0)
        most = tl.maximum(most, tl.max(away, 1))
    slot = tl.arange(0, NEIGHBORS)[None, :]
    # The largest of the list gives way: places that are not asked for never do.
    nearest = tl.zeros((BLOCK, NEIGHBORS), tl.float32) + tl.where(slot < num_neighbors, float("inf"), float("-inf"))
    count = tl.full((), 0, tl.int32)
    for start in range(0, length, BLOCK):
        column = start + lane
        distance, there = _tile(
            rows,
            read_rows,
            row,
            row_squares,
            most,
            features,
            index,
            squares,
            offsets,
            begin,
            length,
            column,
            channels,
            num_rows,
            num_coordinates,
            offset_weight,
            root,
            indexed,
            cosine,
            BLOCK,
            CHANNELS,
        )
        count += tl.sum(there.to(tl.int32), 0)
        neighbor = there[None, :] & counts & ((column[None, :] != row[:, None]) | (include_self != 0))
        value = tl.where(neighbor, tl.where(squared != 0, distance * distance, distance), float("inf"))
        least, worst = tl.min(value, 1), tl.max(nearest, 1)
        while tl.max((least < worst).to(tl.int32), 0) > 0:
            nearer = (least < worst)[:, None]
            nearest = tl.where((slot == tl.argmax(nearest, 1)[:, None]) & nearer, least[:, None], nearest)
            value = tl.where((lane[None, :] == tl.argmin(value, 1)[:, None]) & nearer, float("inf"), value)
            least, worst = tl.min(value, 1), tl.max(nearest, 1)
    # One after the other, the nearest first, so that equal neighbours add up to equal sums.
    nearest = tl.where(slot < num_neighbors, nearest, float("inf"))
    used = tl.minimum(count - tl.where(include_self != 0, 0, 1), num_neighbors)
    sums = tl.zeros((BLOCK,), tl.float32)
    for _ in range(0, used):
        sums += tl.min(nearest, 1)
        nearest = tl.where(slot == tl.argmin(nearest, 1)[:, None], float("inf"), nearest)
    divisor = tl.zeros((BLOCK,), tl.float32) + tl.maximum(used, 1).to(tl.float32)
    rho = tl.exp(-tl.div_rn(sums, divisor))
    if scaled != 0:
        factor = tl.load(scale + begin + row, mask=row < length, other=0.0).to(tl.float32)
        # NaN counts as 0, and so does what is below.
        rho *= tl.minimum(tl.where(factor > 0.0, factor, 0.0), HIGHEST)
    tl.store(farthest + begin + row, most, mask=row < length)
    tl.store(density + begin + row, rho, mask=row < length)


@triton.jit(do_not_specialize=COUNTS)
def separation_kernel(
    features,
    index,
    cu_seqlens,
    squares,
    offsets,
    farthest,
    density,
    scores,
    channels,
    total,
    longest,
    num_rows,
    num_coordinates,
    offset_weight,
    root,
    indexed,
    cosine,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    begin, end = bounds(cu_seqlens, tl.program_id(0).to(tl.int64), total, longest)
    length = (end - begin).to(tl.int32)
    first = tl.program_id(1) * BLOCK
    if first >= length:
        return
    lane = tl.arange(0, BLOCK)
    row = first + lane
    rows, read_rows = _rows_of(features, index, begin, length, row, channels, num_rows, indexed)
    row_squares = tl.load(squares + begin + row, mask=row < length, other=float("nan"))
    most = tl.load(farthest + begin + row, mask=row < length, other=0.0)
    own = tl.load(density + begin + row, mask=row < length, other=0.0)
    counts = (row_squares == row_squares)[:, None]
    nearest = tl.full((BLOCK,), float("inf"), tl.float32)
    largest = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, length, BLOCK):
        column = start + lane
        distance, there = _tile(
            rows,
            read_rows,
            row,
            row_squares,
            most,
            features,
            index,
            squares,
            offsets,
            begin,
            length,
            column,
            channels,
            num_rows,
            num_coordinates,
            offset_weight,
            root,
            indexed,
            cosine,
            BLOCK,
            CHANNELS,
        )
        other = tl.load(density + begin + column, mask=column < length, other=0.0)[None, :]
        denser = (other > own[:, None]) | ((other == own[:, None]) & (column[None, :] < row[:, None]))
        both = there[None, :] & counts
        nearest = tl.minimum(nearest, tl.min(tl.where(denser & both, distance, float("inf")), 1))
        largest = tl.maximum(largest, tl.max(tl.where(both, distance, 0.0), 1))
    score = own * tl.where(nearest < float("inf"), nearest, largest)
    score = tl.where(row_squares == row_squares, tl.minimum(score, HIGHEST), float("-inf"))
    tl.store(scores + begin + row, score, mask=row < length)


def dpc_knn(
    features: Tensor,
    cu_seqlens: Tensor,
    num_neighbors: int,
    metric: str,
    include_self: bool,
    squared: bool,
    density_scale: Tensor | None,
    offsets: Tensor | None,
    offset_weight: float,
    index: Tensor | None,
    max_seqlen: int,
) -> Tensor:
    """See `api.dpc_knn`."""
    num_rows, channels = features.shape
    total = num_rows if index is None else index.shape[0]
    float32 = functools.partial(torch.empty, dtype=torch.float32, device=features.device)
    scores, squares, farthest, density = (float32(total) for _ in range(4))
    num_segments = cu_seqlens.shape[0] - 1
    if not num_segments or not max_seqlen:
        return scores
    shape = tiles(features.device)[f"dpc_knn/{number_case(features.dtype)}"]
    grid = (num_segments, triton.cdiv(max_seqlen, shape["BLOCK"]))
    # What is not given is not read.
    rows = torch.empty(1, dtype=torch.int64, device=features.device) if index is None else index.contiguous()
    tokens = {"features": features.contiguous(), "index": rows, "cu_seqlens": cu_seqlens.contiguous()}
    place = squares if offsets is None else offsets.contiguous()
    sizes = {"channels": channels, "total": total, "longest": max_seqlen, "num_rows": num_rows}
    sizes |= {"num_coordinates": 0 if offsets is None else offsets.shape[1], "indexed": int(index is not None)}
    terms = {"offset_weight": offset_weight, "root": channels**0.5, "cosine": int(metric == "cosine")}
    launch(squares_kernel, grid, *tokens.values(), place, squares, **sizes, **shape.options)
    launch(
        density_kernel,
        grid,
        *tokens.values(),
        squares,
        place,
        squares if density_scale is None else density_scale.contiguous(),
        farthest,
        density,
        **sizes,
        **terms,
        num_neighbors=num_neighbors,
        include_self=int(include_self),
        squared=int(squared),
        scaled=int(density_scale is not None),
        NEIGHBORS=MAX_NEIGHBORS,
        **shape.options,
    )
    launch(
        separation_kernel,
        grid,
        *tokens.values(),
        squares,
        place,
        farthest,
        density,
        scores,
        **sizes,
        **terms,
        **shape.options,
    )
    return scores


_ROWS = {"index": "*i64", "cu_seqlens": "*i32"}
_FLOATS = {
    squares_kernel: ("offsets", "squares"),
    density_kernel: ("squares", "offsets", "scale", "farthest", "density"),
    separation_kernel: ("squares", "offsets", "farthest", "density", "scores"),
}
_SIZES = dict.fromkeys(("channels", "total", "longest", "num_rows", "num_coordinates", "indexed"), "i32")
_TERMS = {"offset_weight": "fp32", "root": "fp32", "cosine": "i32"}
_FLAGS = dict.fromkeys(("num_neighbors", "include_self", "squared", "scaled"), "i32")
_MORE = {squares_kernel: {}, density_kernel: {**_TERMS, **_FLAGS}, separation_kernel: _TERMS}


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    return tuple(
        KernelConfig(
            f"dpc_{name}_{dtype}",
            kernel,
            {"features": f"*{dtype}", **_ROWS, **dict.fromkeys(_FLOATS[kernel], "*fp32"), **_SIZES, **_MORE[kernel]},
            {**shape.blocks, **({"NEIGHBORS": MAX_NEIGHBORS} if kernel is density_kernel else {})},
            expects=("wide_loads",) if dtype == "fp32" else ("mma", "wide_loads"),
            **shape.limits,
        )
        for dtype, shape in (("fp32", table["dpc_knn/fp32"]), *((d, table["dpc_knn/16bit"]) for d in ("bf16", "fp16")))
        for name, kernel in (
            ("squares", squares_kernel),
            ("density", density_kernel),
            ("separation", separation_kernel),
        )
    )
