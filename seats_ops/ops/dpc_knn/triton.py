"""dpc_knn in three launches, without a matrix of distances: tiles of products are made where they are needed, twice.

A program is a block of tokens of one segment that walks over all tokens of the segment. First launch: squared norms,
NaN for a token that does not count. Second: the distances of a block's rows, of which the smallest are kept in a list,
and the densities. Third: the distances again, for the nearest denser token. Offsets take a launch more, after the
first: how far the farthest are. Memory beyond the tensors is five floats a token, whatever the lengths.

The squared norm of a token is its product with itself, made as all products are made: where a device multiplies all
places of a tile alike, it equals the product of two equal tokens bit by bit, and their distance is exactly 0. NumPy,
which multiplies in Triton's interpreter, does so for numbers whose sums are exact.
"""

from __future__ import annotations

import functools
from typing import Any

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
# Floats of a token in `norms`, at one address as scalar registers are few: squared norm, factor, lack, and the share
# that distances of its offsets are multiplied by.
FACTS = tl.constexpr(4)
SHARE = tl.constexpr(3)
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
def _products(rows, columns, channels, BLOCK: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr):
    channel = tl.arange(0, CHANNELS)[None, :]
    product = tl.zeros((BLOCK, COLUMNS), tl.float32)
    for start in range(0, channels, CHANNELS):
        a = tl.load(rows + start + channel, mask=start + channel < channels, other=0.0)
        b = tl.load(columns + start + channel, mask=start + channel < channels, other=0.0)
        product = tl.dot(a, tl.trans(b), product, input_precision="ieee")
    return product


@triton.jit
def _norms_of(norms, token):
    """Squared norm, factor and lack of some tokens."""
    place = norms + token * FACTS
    return tl.load(place), tl.load(place + 1), tl.load(place + 2)


@triton.jit
def _away(offsets, row, column, num_coordinates, zeros):
    """Distances of the offsets, in the layout of `zeros`: two layouts would take twice the registers."""
    square = zeros
    rows = offsets + row.to(tl.int64) * num_coordinates
    columns = offsets + column.to(tl.int64) * num_coordinates
    for coordinate in range(0, num_coordinates):
        own = tl.load(rows + coordinate).to(tl.float32)
        other = tl.load(columns + coordinate).to(tl.float32)
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
    norms,
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
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    PLACED: tl.constexpr,
):
    """Distances of a block of rows to a block of columns, all finite, and which columns count."""
    at = tl.minimum(column, length - 1)
    columns = _rows_of(features, index, begin, at, channels, num_rows, indexed)
    product = _products(rows, columns, channels, BLOCK, COLUMNS, CHANNELS)
    square, factor, lack = _norms_of(norms, at)
    product = product * row_factor[:, None] * factor[None, :]
    # Two differences, none of which is infinity less infinity.
    apart = tl.maximum((row_square[:, None] - product) + (square[None, :] - product), 0.0)
    # A unit is for lengths; without one, distances are those of directions.
    by_angle = apart * 0.5 + (row_lack[:, None] + lack[None, :])
    distance = tl.where(unit > 0.0, tl.sqrt_rn(apart) * unit, by_angle)
    if PLACED:
        # As what is made of products, zeros have their layout: no distance is negative.
        zeros = tl.minimum(distance, 0.0)
        distance += row_share[:, None] * _away(offsets, row, at, num_coordinates, zeros)
    # NaN, of a token that does not count, is below nothing.
    return tl.where(distance < HIGHEST, distance, HIGHEST), (square == square) & (column < length)


@triton.jit(do_not_specialize=[*COUNTS, "cosine"])
def squares_kernel(
    features,
    index,
    cu_seqlens,
    offsets,
    norms,
    channels,
    total,
    longest,
    num_rows,
    num_coordinates,
    indexed,
    cosine,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
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
    square = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, BLOCK, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        at = tl.minimum(first + column, length - 1)
        columns = _rows_of(features, index, begin, at, channels, num_rows, indexed)
        product = _products(rows, columns, channels, BLOCK, COLUMNS, CHANNELS)
        square += tl.sum(tl.where(lane[:, None] == column[None, :], product, 0.0), 1)
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
    place = norms + (begin + row) * FACTS
    tl.store(place, tl.where(counts, square, float("nan")), mask=row < length)
    tl.store(place + 1, factor, mask=row < length)
    # Half of what the cosine of a token with itself lacks to 1: 0 unless its norm is tiny.
    tl.store(place + 2, (1.0 - share * share) * 0.5, mask=row < length)


@triton.jit(do_not_specialize=COUNTS)
def spread_kernel(
    cu_seqlens,
    offsets,
    norms,
    total,
    longest,
    num_coordinates,
    offset_weight,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    begin, end = bounds(cu_seqlens, tl.program_id(0).to(tl.int64), total, longest)
    length = (end - begin).to(tl.int32)
    first = tl.program_id(1) * BLOCK
    if first >= length:
        return
    norms += begin * FACTS
    offsets += begin * num_coordinates
    lane = tl.arange(0, BLOCK)
    row = tl.minimum(first + lane, length - 1)
    farthest = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, length, COLUMNS):
        column = tl.minimum(start + tl.arange(0, COLUMNS), length - 1)
        square = tl.load(norms + column * FACTS)
        away = _away(offsets, row, column, num_coordinates, tl.zeros((BLOCK, COLUMNS), tl.float32))
        farthest = tl.maximum(farthest, tl.max(tl.where((square == square)[None, :], away, 0.0), 1))
    share = tl.div_rn(tl.zeros_like(farthest) + offset_weight, farthest + OFFSET_EPS)
    tl.store(norms + row * FACTS + SHARE, share, mask=first + lane < length)


@triton.jit(do_not_specialize=[*COUNTS, "num_neighbors", "include_self", "squared", "scaled"])
def density_kernel(
    features,
    index,
    cu_seqlens,
    norms,
    offsets,
    scale,
    density,
    channels,
    total,
    longest,
    num_rows,
    num_coordinates,
    num_neighbors,
    unit,
    indexed,
    include_self,
    squared,
    scaled,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    PLACED: tl.constexpr,
    NEIGHBORS: tl.constexpr,
):
    begin, end = bounds(cu_seqlens, tl.program_id(0).to(tl.int64), total, longest)
    length = (end - begin).to(tl.int32)
    first = tl.program_id(1) * BLOCK
    if first >= length:
        return
    # From here on, of this segment alone.
    norms += begin * FACTS
    density += begin
    offsets += begin * num_coordinates
    lane, walk = tl.arange(0, BLOCK), tl.arange(0, COLUMNS)
    # Beyond the end the last token stands in: nothing is masked but what is written.
    row = tl.minimum(first + lane, length - 1)
    rows = _rows_of(features, index, begin, row, channels, num_rows, indexed)
    row_square, row_factor, row_lack = _norms_of(norms, row)
    counts = row_square == row_square
    row_share = tl.load(norms + row * FACTS + SHARE) if PLACED else row_lack
    slot = tl.arange(0, NEIGHBORS)[None, :]
    # The largest of the list gives way: places that are not asked for never do.
    nearest = tl.zeros((BLOCK, NEIGHBORS), tl.float32)
    nearest += tl.where((slot < num_neighbors) & counts[:, None], float("inf"), float("-inf"))
    # A token that is not to be its own neighbour, by its place.
    left_out = tl.where(include_self != 0, -1, row)
    count = tl.full((), 0, tl.int32)
    for start in range(0, length, COLUMNS):
        column = start + walk
        distance, there = _tile(
            rows,
            row,
            row_square,
            row_factor,
            row_lack,
            row_share,
            features,
            index,
            norms,
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
            COLUMNS,
            CHANNELS,
            PLACED,
        )
        count += tl.sum(there.to(tl.int32), 0)
        value = tl.where(squared != 0, distance * distance, distance)
        value = tl.maximum(value, tl.where(there, 0.0, float("inf"))[None, :])
        value = tl.where(column[None, :] == left_out[:, None], float("inf"), value)
        least, worst = tl.min(value, 1), tl.max(nearest, 1)
        while tl.max((least < worst).to(tl.int32), 0) > 0:
            nearer = (least < worst)[:, None]
            nearest = tl.where((slot == tl.argmax(nearest, 1)[:, None]) & nearer, least[:, None], nearest)
            value = tl.where((walk[None, :] == tl.argmin(value, 1)[:, None]) & nearer, float("inf"), value)
            least, worst = tl.min(value, 1), tl.max(nearest, 1)
    # One after the other, the nearest first, so that equal neighbours add up to equal sums.
    nearest = tl.where(nearest < 0.0, float("inf"), nearest)
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
    tl.store(density + row, rho, mask=first + lane < length)


@triton.jit(do_not_specialize=COUNTS)
def separation_kernel(
    features,
    index,
    cu_seqlens,
    norms,
    offsets,
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
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    PLACED: tl.constexpr,
):
    begin, end = bounds(cu_seqlens, tl.program_id(0).to(tl.int64), total, longest)
    length = (end - begin).to(tl.int32)
    first = tl.program_id(1) * BLOCK
    if first >= length:
        return
    # From here on, of this segment alone.
    norms += begin * FACTS
    density += begin
    offsets += begin * num_coordinates
    lane, walk = tl.arange(0, BLOCK), tl.arange(0, COLUMNS)
    # Beyond the end the last token stands in: nothing is masked but what is written.
    row = tl.minimum(first + lane, length - 1)
    rows = _rows_of(features, index, begin, row, channels, num_rows, indexed)
    row_square, row_factor, row_lack = _norms_of(norms, row)
    row_share = tl.load(norms + row * FACTS + SHARE) if PLACED else row_lack
    own = tl.load(density + row)
    above = (own.to(tl.int32, bitcast=True) + 1).to(tl.float32, bitcast=True)
    nearest = tl.full((BLOCK,), float("inf"), tl.float32)
    largest = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, length, COLUMNS):
        column = start + walk
        distance, there = _tile(
            rows,
            row,
            row_square,
            row_factor,
            row_lack,
            row_share,
            features,
            index,
            norms,
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
            COLUMNS,
            CHANNELS,
            PLACED,
        )
        other = tl.load(density + tl.minimum(column, length - 1))
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
    norms, density = float32((total, FACTS.value)), float32(total)
    shape = tiles(features.device)[f"dpc_knn/{number_case(features.dtype)}"]
    grid = (num_segments, triton.cdiv(max_seqlen, shape["BLOCK"]))
    # What is not given is not read.
    rows = torch.empty(1, dtype=torch.int64, device=features.device) if index is None else index.contiguous()
    tokens = (features.contiguous(), rows, cu_seqlens.contiguous())
    place = norms if offsets is None else offsets.contiguous()
    scale = norms if density_scale is None else density_scale.contiguous()
    cosine = metric == "cosine"
    sizes = {"total": total, "longest": max_seqlen, "num_coordinates": 0 if offsets is None else offsets.shape[1]}
    options = {**sizes, "channels": channels, "num_rows": num_rows, "indexed": int(index is not None), **shape.options}
    launch(squares_kernel, grid, *tokens, place, norms, cosine=int(cosine), **options)
    if offsets is not None:
        walk = {"BLOCK": shape["BLOCK"], "COLUMNS": shape["COLUMNS"], **shape.limits}
        launch(spread_kernel, grid, tokens[2], place, norms, offset_weight=offset_weight, **sizes, **walk)
    options |= {"unit": 0.0 if cosine else channels**-0.5, "PLACED": offsets is not None}
    launch(
        density_kernel,
        grid,
        *tokens,
        norms,
        place,
        scale,
        density,
        num_neighbors=num_neighbors,
        include_self=int(include_self),
        squared=int(squared),
        scaled=int(density_scale is not None),
        NEIGHBORS=MAX_NEIGHBORS,
        **options,
    )
    launch(separation_kernel, grid, *tokens, norms, place, density, scores, **options)
    return scores


_ROWS = {"index": "*i64", "cu_seqlens": "*i32"}
_SIZES = dict.fromkeys(("channels", "total", "longest", "num_rows", "num_coordinates", "indexed"), "i32")
_FLAGS = dict.fromkeys(("num_neighbors", "include_self", "squared", "scaled"), "i32")
_SPREAD = {
    **{"cu_seqlens": "*i32", "offsets": "*fp32", "norms": "*fp32", "offset_weight": "fp32"},
    **dict.fromkeys(("total", "longest", "num_coordinates"), "i32"),
}
# Of every kernel that reads features: tensors of floats, what else it is told, its constants by the end of a name.
_PLACED = {"": {"PLACED": False}, "_placed": {"PLACED": True}}
_TOLD: dict[Any, tuple[tuple[str, ...], dict[str, str], dict[str, dict[str, Any]]]] = {
    squares_kernel: (("offsets", "norms"), {"cosine": "i32"}, {"": {}}),
    density_kernel: (
        ("norms", "offsets", "scale", "density"),
        {"unit": "fp32", **_FLAGS},
        {end: {**placed, "NEIGHBORS": MAX_NEIGHBORS} for end, placed in _PLACED.items()},
    ),
    separation_kernel: (("norms", "offsets", "density", "scores"), {"unit": "fp32"}, _PLACED),
}


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    shapes = {case: table[f"dpc_knn/{case}"] for case in ("fp32", "16bit")}
    spread = tuple(
        KernelConfig(
            f"dpc_spread_{case}",
            spread_kernel,
            _SPREAD,
            {name: shape[name] for name in ("BLOCK", "COLUMNS")},
            **shape.limits,
        )
        for case, shape in shapes.items()
    )
    return spread + tuple(
        KernelConfig(
            f"dpc_{kernel.fn.__name__.removesuffix('_kernel')}_{dtype}{end}",
            kernel,
            {"features": f"*{dtype}", **_ROWS, **dict.fromkeys(floats, "*fp32"), **_SIZES, **more},
            {**shape.blocks, **constants},
            expects=("wide_loads",) if dtype == "fp32" else ("mma", "wide_loads"),
            **shape.limits,
        )
        for dtype, shape in (("fp32", shapes["fp32"]), ("bf16", shapes["16bit"]), ("fp16", shapes["16bit"]))
        for kernel, (floats, more, ends) in _TOLD.items()
        for end, constants in ends.items()
    )
