"""dpc_knn in three launches, without a matrix of distances: tiles of products are made where they are needed, twice.

A program is a block of tokens of one segment that walks over all blocks of the segment. First launch: squared norms,
NaN for a token that does not count. Second: the distances of a block's rows, of which the smallest are kept in a list,
and the densities. Third: the distances again, for the nearest denser token. Memory beyond the tensors is five floats a
token, whatever the lengths.

The squared norm of a token is its product with itself, made as all products are made: where a device multiplies all
places of a tile alike, it equals the product of two equal tokens bit by bit, and their distance is exactly 0. NumPy,
which multiplies in Triton's interpreter, does so for numbers whose sums are exact.
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
# Runtime numbers for which no kernel is compiled anew.
COUNTS = ["total", "longest", "num_rows", "num_coordinates", "indexed"]


@triton.jit
def _rows_of(features, index, begin, token, channels, num_rows, indexed):
    """Addresses of the features of some tokens of a segment, as a column; an index that names no row counts as one."""
    at = begin + token
    if indexed != 0:
        at = tl.load(index + at).to(tl.int64)
    at = tl.minimum(tl.maximum(at, 0), num_rows - 1)
    return features + (at * channels)[:, None]


@triton.jit
def _products(rows, columns, channels, BLOCK: tl.constexpr, CHANNELS: tl.constexpr):
    channel = tl.arange(0, CHANNELS)[None, :]
    product = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, channels, CHANNELS):
        a = tl.load(rows + start + channel, mask=start + channel < channels, other=0.0)
        b = tl.load(columns + start + channel, mask=start + channel < channels, other=0.0)
        product = tl.dot(a, tl.trans(b), product, input_precision="ieee")
    return product


@triton.jit
def _coordinate(offsets, token, num_coordinates, coordinate):
    """Of some tokens; 0 where it is not finite, of a token that does not count."""
    value = tl.load(offsets + token * num_coordinates + coordinate).to(tl.float32)
    return tl.where(tl.abs(value) < float("inf"), value, 0.0)


@triton.jit
def _away(offsets, row, column, num_coordinates, zeros):
    """Distances of the offsets, in the layout of `zeros`: two layouts would take twice the registers."""
    square = zeros
    for coordinate in range(0, num_coordinates):
        own = _coordinate(offsets, row, num_coordinates, coordinate)
        other = _coordinate(offsets, column, num_coordinates, coordinate)
        difference = own[:, None] - other[None, :]
        square += difference * difference
    return tl.minimum(tl.sqrt_rn(square), HIGHEST)


@triton.jit
def _tile(
    rows,
    row,
    row_square,
    row_factor,
    row_lack,
    row_share,
    features,
    index,
    squares,
    factors,
    lacks,
    offsets,
    begin,
    length,
    column,
    channels,
    num_rows,
    num_coordinates,
    unit,
    indexed,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Distances of a block of rows to a block of columns, all finite, and which columns count."""
    at = tl.minimum(column, length - 1)
    columns = _rows_of(features, index, begin, at, channels, num_rows, indexed)
    product = _products(rows, columns, channels, BLOCK, CHANNELS)
    square = tl.load(squares + begin + at)
    factor = tl.load(factors + begin + at)
    lack = tl.load(lacks + begin + at)
    product = product * row_factor[:, None] * factor[None, :]
    # Two differences, none of which is infinity less infinity; NaN is not above 0.
    apart = (row_square[:, None] - product) + (square[None, :] - product)
    apart = tl.where(apart > 0.0, apart, 0.0)
    # A unit is for lengths; without one, distances are those of directions.
    by_angle = apart * 0.5 + (row_lack[:, None] + lack[None, :])
    distance = tl.where(unit > 0.0, tl.sqrt_rn(apart) * unit, by_angle)
    if num_coordinates > 0:
        # As what is made of products, zeros have their layout; a distance is never negative.
        zeros = tl.where(distance < 0.0, distance, 0.0)
        distance += row_share[:, None] * _away(offsets, begin + row, begin + at, num_coordinates, zeros)
    return tl.minimum(distance, HIGHEST), (square == square) & (column < length)


@triton.jit(do_not_specialize=[*COUNTS, "cosine"])
def squares_kernel(
    features,
    index,
    cu_seqlens,
    offsets,
    squares,
    factors,
    lacks,
    channels,
    total,
    longest,
    num_rows,
    num_coordinates,
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
    own = tl.minimum(row, length - 1)
    rows = _rows_of(features, index, begin, own, channels, num_rows, indexed)
    product = _products(rows, rows, channels, BLOCK, CHANNELS)
    square = tl.sum(tl.where(lane[:, None] == lane[None, :], product, 0.0), 1)
    place = tl.zeros((BLOCK,), tl.float32)
    for coordinate in range(0, num_coordinates):
        value = tl.load(offsets + (begin + own) * num_coordinates + coordinate).to(tl.float32)
        place += value * value
    # NaN is below nothing.
    counts = (square < float("inf")) & (place < float("inf"))
    norm = tl.sqrt_rn(tl.where(counts, square, 0.0))
    factor = tl.where(cosine != 0, tl.div_rn(1.0, norm + EPS), 1.0)
    share = tl.div_rn(norm, norm + EPS)
    square = square * factor * factor
    tl.store(squares + begin + row, tl.where(counts, square, float("nan")), mask=row < length)
    tl.store(factors + begin + row, factor, mask=row < length)
    # Half of what the cosine of a token with itself lacks to 1: 0 unless its norm is tiny.
    tl.store(lacks + begin + row, (1.0 - share * share) * 0.5, mask=row < length)


@triton.jit(do_not_specialize=[*COUNTS, "num_neighbors", "include_self", "squared", "scaled"])
def density_kernel(
    features,
    index,
    cu_seqlens,
    squares,
    factors,
    lacks,
    offsets,
    scale,
    shares,
    density,
    channels,
    total,
    longest,
    num_rows,
    num_coordinates,
    num_neighbors,
    offset_weight,
    unit,
    indexed,
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
    # Beyond the end the last token stands in: nothing is masked but what is written.
    row = tl.minimum(first + lane, length - 1)
    rows = _rows_of(features, index, begin, row, channels, num_rows, indexed)
    row_square = tl.load(squares + begin + row)
    row_factor = tl.load(factors + begin + row)
    row_lack = tl.load(lacks + begin + row)
    counts = row_square == row_square
    farthest = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, tl.where(num_coordinates > 0, length, 0), BLOCK):
        at = begin + tl.minimum(start + lane, length - 1)
        square = tl.load(squares + at)
        away = _away(offsets, begin + row, at, num_coordinates, tl.zeros((BLOCK, BLOCK), tl.float32))
        farthest = tl.maximum(farthest, tl.max(tl.where((square == square)[None, :], away, 0.0), 1))
    row_share = tl.div_rn(tl.zeros_like(farthest) + offset_weight, farthest + OFFSET_EPS)
    slot = tl.arange(0, NEIGHBORS)[None, :]
    # The largest of the list gives way: places that are not asked for never do.
    nearest = tl.zeros((BLOCK, NEIGHBORS), tl.float32)
    nearest += tl.where((slot < num_neighbors) & counts[:, None], float("inf"), float("-inf"))
    # A token that is not to be its own neighbour, by its place.
    left_out = tl.where(include_self != 0, -1, row)
    count = tl.full((), 0, tl.int32)
    for start in range(0, length, BLOCK):
        column = start + lane
        distance, there = _tile(
            rows,
            row,
            row_square,
            row_factor,
            row_lack,
            row_share,
            features,
            index,
            squares,
            factors,
            lacks,
            offsets,
            begin,
            length,
            column,
            channels,
            num_rows,
            num_coordinates,
            unit,
            indexed,
            BLOCK,
            CHANNELS,
        )
        count += tl.sum(there.to(tl.int32), 0)
        value = tl.where(squared != 0, distance * distance, distance)
        value = tl.maximum(value, tl.where(there, 0.0, float("inf"))[None, :])
        value = tl.where(column[None, :] == left_out[:, None], float("inf"), value)
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
        factor = tl.load(scale + begin + row).to(tl.float32)
        # NaN counts as 0, and so does what is below.
        rho *= tl.minimum(tl.where(factor > 0.0, factor, 0.0), HIGHEST)
    tl.store(shares + begin + row, row_share, mask=first + lane < length)
    tl.store(density + begin + row, rho, mask=first + lane < length)


@triton.jit(do_not_specialize=COUNTS)
def separation_kernel(
    features,
    index,
    cu_seqlens,
    squares,
    factors,
    lacks,
    offsets,
    shares,
    density,
    scores,
    channels,
    total,
    longest,
    num_rows,
    num_coordinates,
    unit,
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
    # Beyond the end the last token stands in: nothing is masked but what is written.
    row = tl.minimum(first + lane, length - 1)
    rows = _rows_of(features, index, begin, row, channels, num_rows, indexed)
    row_square = tl.load(squares + begin + row)
    row_factor = tl.load(factors + begin + row)
    row_lack = tl.load(lacks + begin + row)
    row_share = tl.load(shares + begin + row)
    own = tl.load(density + begin + row)
    above = (own.to(tl.int32, bitcast=True) + 1).to(tl.float32, bitcast=True)
    nearest = tl.full((BLOCK,), float("inf"), tl.float32)
    largest = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, length, BLOCK):
        column = start + lane
        distance, there = _tile(
            rows,
            row,
            row_square,
            row_factor,
            row_lack,
            row_share,
            features,
            index,
            squares,
            factors,
            lacks,
            offsets,
            begin,
            length,
            column,
            channels,
            num_rows,
            num_coordinates,
            unit,
            indexed,
            BLOCK,
            CHANNELS,
        )
        other = tl.load(density + begin + tl.minimum(column, length - 1))
        # Below every density.
        other = tl.where(there, other, -1.0)[None, :]
        # An earlier token is denser if as dense, a later one from the next larger number on.
        least = tl.where(column[None, :] < row[:, None], own[:, None], above[:, None])
        denser = other >= least
        nearest = tl.minimum(nearest, tl.min(tl.where(denser, distance, float("inf")), 1))
        largest = tl.maximum(largest, tl.max(tl.minimum(distance, tl.where(there, HIGHEST, 0.0)[None, :]), 1))
    score = own * tl.where(nearest < float("inf"), nearest, largest)
    score = tl.where(row_square == row_square, tl.minimum(score, HIGHEST), float("-inf"))
    tl.store(scores + begin + row, score, mask=first + lane < length)


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
    scores = float32(total)
    num_segments = cu_seqlens.shape[0] - 1
    if not (num_segments and max_seqlen and num_rows):
        return scores
    squares, factors, lacks, shares, density = (float32(total) for _ in range(5))
    shape = tiles(features.device)[f"dpc_knn/{number_case(features.dtype)}"]
    grid = (num_segments, triton.cdiv(max_seqlen, shape["BLOCK"]))
    # What is not given is not read.
    rows = torch.empty(1, dtype=torch.int64, device=features.device) if index is None else index.contiguous()
    tokens = (features.contiguous(), rows, cu_seqlens.contiguous())
    place = squares if offsets is None else offsets.contiguous()
    scale = squares if density_scale is None else density_scale.contiguous()
    cosine = metric == "cosine"
    options = {
        "channels": channels,
        "total": total,
        "longest": max_seqlen,
        "num_rows": num_rows,
        "num_coordinates": 0 if offsets is None else offsets.shape[1],
        "indexed": int(index is not None),
        **shape.options,
    }
    unit = 0.0 if cosine else channels**-0.5
    launch(squares_kernel, grid, *tokens, place, squares, factors, lacks, cosine=int(cosine), **options)
    launch(
        density_kernel,
        grid,
        *tokens,
        squares,
        factors,
        lacks,
        place,
        scale,
        shares,
        density,
        num_neighbors=num_neighbors,
        offset_weight=offset_weight,
        unit=unit,
        include_self=int(include_self),
        squared=int(squared),
        scaled=int(density_scale is not None),
        NEIGHBORS=MAX_NEIGHBORS,
        **options,
    )
    launch(
        separation_kernel,
        grid,
        *tokens,
        squares,
        factors,
        lacks,
        place,
        shares,
        density,
        scores,
        unit=unit,
        **options,
    )
    return scores


_ROWS = {"index": "*i64", "cu_seqlens": "*i32"}
_NORMS = ("squares", "factors", "lacks")
_SIZES = dict.fromkeys(("channels", "total", "longest", "num_rows", "num_coordinates", "indexed"), "i32")
_FLAGS = dict.fromkeys(("num_neighbors", "include_self", "squared", "scaled"), "i32")
# Of every kernel, the tensors of floats and what else it is told.
_TOLD = {
    squares_kernel: (("offsets", *_NORMS), {"cosine": "i32"}),
    density_kernel: (
        (*_NORMS, "offsets", "scale", "shares", "density"),
        {"offset_weight": "fp32", "unit": "fp32", **_FLAGS},
    ),
    separation_kernel: ((*_NORMS, "offsets", "shares", "density", "scores"), {"unit": "fp32"}),
}


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    return tuple(
        KernelConfig(
            f"dpc_{kernel.fn.__name__.removesuffix('_kernel')}_{dtype}",
            kernel,
            {"features": f"*{dtype}", **_ROWS, **dict.fromkeys(floats, "*fp32"), **_SIZES, **more},
            {**shape.blocks, **({"NEIGHBORS": MAX_NEIGHBORS} if kernel is density_kernel else {})},
            expects=("wide_loads",) if dtype == "fp32" else ("mma", "wide_loads"),
            **shape.limits,
        )
        for dtype in ("fp32", "bf16", "fp16")
        for shape in (table["dpc_knn/fp32" if dtype == "fp32" else "dpc_knn/16bit"],)
        for kernel, (floats, more) in _TOLD.items()
    )
