"""The values that a launch table may be tuned over, per entry, and no others.

Small on purpose: what fits the shared memory and the registers of most devices. Entries whose name begins with a key
below share its grid. `num_stages` is listed where a loop multiplies tiles, `max_registers` where another bound may pay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from seats_ops.ops.tiles import LIMITS, Tile

Grid = Mapping[str, tuple[int, ...]]

GRID: Mapping[str, Grid] = {
    "attention_received/fp32": {
        "QUERIES": (16, 32),
        "KEYS": (16, 32),
        "num_warps": (4, 8),
        "num_stages": (1, 2),
        "max_registers": (128, 168, 255),
    },
    "attention_received/16bit": {
        "QUERIES": (16, 32, 64, 128),
        "KEYS": (16, 32, 64),
        "num_warps": (4, 8),
        "num_stages": (2, 3),
    },
    "head_mean": {"BLOCK": (256, 512, 1024), "num_warps": (2, 4, 8)},
    "gram/fp32": {"BLOCK": (32, 64), "BLOCK_CHANNELS": (16, 32), "num_warps": (4, 8), "num_stages": (2, 3)},
    "gram/16bit": {"BLOCK": (32, 64, 128), "BLOCK_CHANNELS": (32, 64), "num_warps": (4, 8), "num_stages": (2, 3, 4)},
    "distances": {"BLOCK_OWN": (4, 8, 16), "BLOCK_WALK": (64, 128, 256), "num_warps": (2, 4, 8)},
    "greedy/4096": {"num_warps": (4, 8, 16), "max_registers": (128, 160, 255)},
    "greedy": {"num_warps": (1, 2, 4, 8), "max_registers": (128, 160, 255)},
    "dpc_knn/fp32": {
        "BLOCK": (32, 64),
        "COLUMNS": (16, 32, 64),
        "CHANNELS": (16, 32),
        "num_warps": (4, 8),
        "num_stages": (2, 3),
    },
    "dpc_knn/16bit": {
        "BLOCK": (32, 64),
        "COLUMNS": (16, 32, 64),
        "CHANNELS": (32, 64),
        "num_warps": (4, 8),
        "num_stages": (2, 3),
    },
    "norms": {"TOKENS": (16, 32, 64), "CHANNELS": (64, 128), "num_warps": (4, 8)},
    "second_smallest/fp32": {"BLOCK": (32, 64), "CHANNELS": (16, 32), "num_warps": (4, 8), "num_stages": (2, 3)},
    "second_smallest/16bit": {"BLOCK": (32, 64), "CHANNELS": (32, 64), "num_warps": (4, 8), "num_stages": (2, 3)},
    "step": {"TOKENS": (16, 32, 64), "CHANNELS": (64, 128), "num_warps": (4, 8)},
    "dpp_variances": {"TOKENS": (8, 16, 32, 64), "CHANNELS": (64, 128), "num_warps": (2, 4, 8)},
    "dpp_step": {"TOKENS": (8, 16, 32, 64), "CHANNELS": (64, 128), "num_warps": (2, 4, 8, 16)},
    "query_logits/16": {"BLOCK": (64, 128, 256), "num_warps": (2, 4, 8)},
    "query_logits/32": {"BLOCK": (32, 64, 128), "num_warps": (2, 4, 8)},
    "query_logits": {"BLOCK": (16, 32, 64), "num_warps": (2, 4, 8)},
    "query_scores": {"BLOCK": (128, 256, 512), "BLOCK_PARTS": (32, 64, 128), "num_warps": (2, 4, 8)},
    "window_budget/16": {"BLOCK": (32, 64, 128), "SCAN": (512, 1024, 2048), "num_warps": (4, 8)},
    "window_budget/64": {"BLOCK": (8, 16, 32), "SCAN": (512, 1024, 2048), "num_warps": (4, 8)},
    "window_budget/256": {"BLOCK": (2, 4, 8), "SCAN": (512, 1024, 2048), "num_warps": (4, 8)},
    "window_budget/1024": {"BLOCK": (1, 2), "SCAN": (512, 1024, 2048), "num_warps": (4, 8)},
    "window_budget/2048": {"BLOCK": (1, 2), "SCAN": (512, 1024, 2048), "num_warps": (8, 16)},
    "segment_topk": {"BLOCK": (512, 1024, 2048), "num_warps": (2, 4, 8)},
    "kept_index": {"BLOCK": (512, 1024, 2048), "BLOCK_COUNT": (2048, 4096, 8192), "num_warps": (4, 8)},
    "gather": {"ROWS": (8, 16, 32), "COLUMNS": (64, 128, 256), "num_warps": (2, 4, 8)},
    "triple_rows": {"BLOCK": (256, 512, 1024), "num_warps": (2, 4)},
    "merge_rows": {"BLOCK": (256, 512, 1024), "num_warps": (1, 2, 4)},
    "group_budget/64": {"num_warps": (1, 2)},
    "group_budget/512": {"num_warps": (4, 8)},
    "group_budget/2048": {"num_warps": (8, 16)},
    "temporal_similarity": {"TOKENS": (8, 16, 32), "CHANNELS": (64, 128, 256), "num_warps": (2, 4, 8)},
}


def grid_of(entry: str) -> Grid:
    """The values of an entry, by field."""
    while entry not in GRID:
        entry, slash, _ = entry.rpartition("/")
        if not slash:
            raise KeyError(entry)
    return GRID[entry]


def changed(base: Tile, values: Mapping[str, Any]) -> Tile:
    """`base` with other values of some fields."""
    blocks = {name: values.get(name, size) for name, size in base.blocks.items()}
    return replace(base, blocks=blocks, **{name: values[name] for name in LIMITS if name in values})


def candidates(entry: str, base: Tile) -> Iterator[Tile]:
    """Every point of an entry's grid, `base` first."""
    yield base
    grid = grid_of(entry)
    for point in product(*grid.values()):
        candidate = changed(base, dict(zip(grid, point, strict=True)))
        if candidate != base:
            yield candidate
