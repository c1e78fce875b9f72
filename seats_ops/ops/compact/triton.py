"""compact in two launches for tensors of one kind of row, and one more for every other, whatever their number.

`kept_index`: a program per block of the mask counts the kept tokens before it and writes the positions of its own.
`gather`: a table of addresses names every contiguous slab of every tensor (one per outer index: a batch row, a key
head); a program copies some kept rows of one slab. Rows are moved as the widest integers that divide them, two at a
time where addresses allow it; 65,535 slabs are one launch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.backend import MAX_GRID
from seats_ops.ops.launch import KernelConfig, launch
from seats_ops.ops.tile_tables import tiles
from seats_ops.ops.tiles import Table

UNITS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}


@triton.jit(do_not_specialize=["total", "num_kept"])
def kept_index_kernel(keep_mask, index, total, num_kept, BLOCK: tl.constexpr, BLOCK_COUNT: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    before = tl.full((), 0, tl.int64)
    for start in range(0, first, BLOCK_COUNT):
        token = start + tl.arange(0, BLOCK_COUNT)
        kept = tl.load(keep_mask + token, mask=token < first, other=0)
        before += tl.sum((kept != 0).to(tl.int64), 0)
    token = first + tl.arange(0, BLOCK)
    kept = (tl.load(keep_mask + token, mask=token < total, other=0) != 0).to(tl.int64)
    place = before + tl.cumsum(kept, 0) - kept
    tl.store(index + place, token, mask=(kept != 0) & (place < num_kept))
    if tl.program_id(0) == tl.num_programs(0) - 1:
        # Where fewer are kept than `num_kept` says, -1 stands in the places that are left.
        for start in range(before + tl.sum(kept, 0), num_kept, BLOCK):
            place = start + tl.arange(0, BLOCK)
            tl.store(index + place, tl.full((BLOCK,), -1, tl.int64), mask=place < num_kept)


@triton.jit(do_not_specialize=["num_kept", "num_slabs"])
def gather_kernel(
    index, table, num_kept, num_slabs, UNIT: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    if UNIT == 8:
        element = tl.int64
    elif UNIT == 4:
        element = tl.int32
    elif UNIT == 2:
        element = tl.int16
    else:
        element = tl.int8
    slab = tl.program_id(1)
    source = tl.load(table + slab).to(tl.pointer_type(element))
    target = tl.load(table + num_slabs + slab).to(tl.pointer_type(element))
    width = tl.load(table + 2 * num_slabs + slab)
    total = tl.load(table + 3 * num_slabs + slab)
    if WIDE:
        # The launcher saw that addresses and row lengths are multiples of 16 bytes.
        source = tl.multiple_of(source, 16)
        target = tl.multiple_of(target, 16)
        width = tl.multiple_of(width, 16 // UNIT)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    kept = row < num_kept
    token = tl.load(index + row, mask=kept, other=0).to(tl.int64)
    # An index that names no row gives a row of zeros.
    known = kept & (token >= 0) & (token < total)
    for start in range(0, width, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = (column < width)[None, :]
        value = tl.load(source + token[:, None] * width + column[None, :], mask=known[:, None] & inside, other=0)
        tl.store(target + row[:, None] * width + column[None, :], value, mask=kept[:, None] & inside)


def kept_index(keep_mask: Tensor, num_kept: int | None) -> Tensor:
    """int64 [K]: positions of the True entries, ascending; reads the device only when `num_kept` is not given."""
    count = int(keep_mask.sum()) if num_kept is None else num_kept
    index = torch.empty(count, dtype=torch.int64, device=keep_mask.device)
    total, tile = keep_mask.shape[0], tiles(keep_mask.device)["kept_index"]
    launch(
        kept_index_kernel,
        (triton.cdiv(total, tile["BLOCK"]) if count else 0,),
        keep_mask.contiguous(),
        index,
        total,
        count,
        **tile.options,
    )
    return index


def gather(index: Tensor, tensors: Sequence[Tensor], dim: int) -> list[Tensor]:
    """Rows `index` of every tensor along `dim`."""
    results = []
    groups: dict[tuple[int, bool], list[tuple[int, int, int, int]]] = {}
    index, sources = index.contiguous(), [tensor.contiguous() for tensor in tensors]
    for source in sources:
        shape = list(source.shape)
        axis = dim % source.ndim
        total, shape[axis] = shape[axis], index.shape[0]
        result = torch.empty(shape, dtype=source.dtype, device=source.device)
        results.append(result)
        row_bytes = source.element_size() * source[(0,) * (axis + 1)].numel() if source.numel() else 0
        if not row_bytes or not result.numel():
            continue
        unit = next(unit for unit in UNITS if row_bytes % unit == 0)
        # Slabs are whole numbers of rows apart: all are aligned if the first is.
        aligned = source.data_ptr() % 16 == 0 and result.data_ptr() % 16 == 0
        slabs = groups.setdefault((unit, unit == 8 and aligned and row_bytes % 16 == 0), [])
        for slab in range(source.numel() * source.element_size() // (row_bytes * total)):
            slabs.append(
                (
                    source.data_ptr() + slab * total * row_bytes,
                    result.data_ptr() + slab * index.shape[0] * row_bytes,
                    row_bytes // unit,
                    total,
                )
            )
    tile = tiles(index.device)["gather"]
    for (unit, wide), slabs in groups.items():
        for start in range(0, len(slabs), MAX_GRID):
            chunk = torch.tensor(slabs[start : start + MAX_GRID], dtype=torch.int64, device="cpu").T.contiguous()
            launch(
                gather_kernel,
                (triton.cdiv(index.shape[0], tile["ROWS"]), chunk.shape[1]),
                index,
                chunk.to(index.device, non_blocking=True),
                index.shape[0],
                chunk.shape[1],
                UNIT=unit,
                WIDE=wide,
                **tile.options,
            )
    return results


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    index, rows = table["kept_index"], table["gather"]
    return (
        KernelConfig(
            "kept_index",
            kept_index_kernel,
            {"keep_mask": "*i1", "index": "*i64", "total": "i32", "num_kept": "i32"},
            index.blocks,
            **index.limits,
        ),
        *(
            KernelConfig(
                f"gather_{8 * unit}bit{'_wide' if wide else ''}",
                gather_kernel,
                {"index": "*i64", "table": "*i64", "num_kept": "i32", "num_slabs": "i32"},
                {"UNIT": unit, "WIDE": wide, **rows.blocks},
                expects=("wide_loads",) if wide else (),
                **rows.limits,
            )
            for unit, wide in ((8, True), (8, False), (4, False), (2, False), (1, False))
        ),
    )
