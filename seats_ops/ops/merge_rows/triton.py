"""merge_rows in two launches around a sort.

First launch: the target of every triple, or one past the last row where the triple counts as none. torch sorts these
(stable) and finds where the triples of every row begin. Second launch: a program per (row, block of channels) walks
over the triples of its row in order, or copies the row if there are none. No atomics: every sum has one program.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from seats_ops.ops.launch import KernelConfig, launch
from seats_ops.ops.tile_tables import tiles
from seats_ops.ops.tiles import Table


@triton.jit(do_not_specialize=["num_rows", "num_triples"])
def triple_rows_kernel(target, source, rows, num_rows, num_triples, BLOCK: tl.constexpr):
    triple = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = triple < num_triples
    to = tl.load(target + triple, mask=inside, other=0).to(tl.int64)
    of = tl.load(source + triple, mask=inside, other=0).to(tl.int64)
    known = (to >= 0) & (to < num_rows) & (of >= 0) & (of < num_rows)
    tl.store(rows + triple, tl.where(known, to, num_rows).to(tl.int32), mask=inside)


@triton.jit(do_not_specialize=["width", "parts"])
def merge_rows_kernel(
    features,
    source,
    coefficient,
    order,
    offsets,
    own,
    merged,
    width,
    parts,
    OWN: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = (tl.program_id(0) // parts).to(tl.int64)
    if WIDE:
        # The launcher saw that rows are whole multiples of 16 bytes.
        width = tl.multiple_of(width.to(tl.int64), 16 // (features.dtype.element_ty.primitive_bitwidth // 8))
    column = (tl.program_id(0) % parts).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    begin = tl.load(offsets + row)
    end = tl.load(offsets + row + 1)
    keeps = tl.load(own + row) != 0 if OWN else begin == end
    # A row that is not kept may hold anything and is not read.
    before = tl.load(features + row * width + column, mask=column < tl.where(keeps, width, 0), other=0.0)
    total = tl.zeros((BLOCK,), tl.float32)
    for place in range(begin, end):
        triple = tl.load(order + place)
        of = tl.load(source + triple).to(tl.int64)
        weight = tl.load(coefficient + triple).to(tl.float32)
        total += weight * tl.load(features + of * width + column, mask=inside, other=0.0).to(tl.float32)
    total += before.to(tl.float32)
    # A row without triples keeps its bits, those of a NaN too.
    tl.store(merged + row * width + column, tl.where(begin == end, before, total.to(before.dtype)), mask=inside)


def merge_rows(features: Tensor, target: Tensor, source: Tensor, coefficient: Tensor, own: Tensor | None) -> Tensor:
    """See `op.merge_op`."""
    features, source = features.contiguous(), source.contiguous()
    num_rows, width = features.shape
    num_triples, device = target.shape[0], features.device
    merged = torch.empty_like(features)
    rows = torch.empty(num_triples, dtype=torch.int32, device=device)
    table = tiles(device)
    tile = table["triple_rows"]
    launch(
        triple_rows_kernel,
        (triton.cdiv(num_triples, tile["BLOCK"]),),
        target.contiguous(),
        source,
        rows,
        num_rows,
        num_triples,
        **tile.options,
    )
    ordered, order = rows.sort(stable=True)
    offsets = torch.searchsorted(ordered, torch.arange(num_rows + 1, dtype=torch.int32, device=device))
    tile = table["merge_rows"]
    parts = triton.cdiv(width, tile["BLOCK"])
    launch(
        merge_rows_kernel,
        (num_rows * parts,),
        features,
        source,
        coefficient.contiguous(),
        order,
        offsets,
        offsets if own is None else own.contiguous(),
        merged,
        width,
        parts,
        OWN=own is not None,
        WIDE=width * features.element_size() % 16 == 0,
        **tile.options,
    )
    return merged


def configs(table: Table) -> tuple[KernelConfig, ...]:
    """What is launched under a launch table."""
    rows, merge = table["triple_rows"], table["merge_rows"]
    return (
        KernelConfig(
            "triple_rows",
            triple_rows_kernel,
            {"target": "*i64", "source": "*i64", "rows": "*i32", "num_rows": "i32", "num_triples": "i32"},
            rows.blocks,
            **rows.limits,
        ),
        *(
            KernelConfig(
                f"merge_rows_{dtype}{'_wide' if wide else ''}{'_own' if own else ''}",
                merge_rows_kernel,
                {
                    "features": f"*{dtype}",
                    "source": "*i64",
                    "coefficient": "*fp32",
                    "order": "*i64",
                    "offsets": "*i64",
                    "own": "*i1" if own else "*i64",
                    "merged": f"*{dtype}",
                    "width": "i32",
                    "parts": "i32",
                },
                {"OWN": own, "WIDE": wide, **merge.blocks},
                expects=("wide_loads",) if wide else (),
                **merge.limits,
            )
            for dtype in ("fp32", "bf16", "fp16")
            for wide in (True, False)
            for own in (False, True)
        ),
    )
