"""How kernels are launched, without Triton: one table of sizes, warps and stages, and what differs by kind of device.

An entry is named after its kernel and the case, "gram/fp32". `attention_received` is one entry for two kernels, and
`dpc_knn` for all of its own: they multiply tiles of the same shape, so that products round the same way in all of them.
`tile_tables.py` says which table a device follows, `tile_grid.py` which values there are to choose among.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch


@dataclass(frozen=True)
class Tile:
    """How a kernel is launched in one case.

    Attributes:
        blocks: its `constexpr` arguments that are sizes, by name.
        num_warps, num_stages, max_registers: launch options, see `launch`.
    """

    blocks: Mapping[str, int]
    num_warps: int = 4
    num_stages: int = 1
    max_registers: int | None = None

    def __getitem__(self, block: str) -> int:
        return self.blocks[block]

    @cached_property
    def limits(self) -> dict[str, Any]:
        """The launch options."""
        return {name: getattr(self, name) for name in LIMITS}

    @cached_property
    def options(self) -> dict[str, Any]:
        """All of it, as keyword arguments of a launch."""
        return {**self.blocks, **self.limits}


LIMITS = tuple(field.name for field in fields(Tile) if field.name != "blocks")

Table = Mapping[str, Tile]


def tile(warps: int = 4, stages: int = 1, registers: int | None = None, **blocks: int) -> Tile:
    """A `Tile`, in few words."""
    return Tile(blocks, warps, stages, registers)


# A bound on registers stands where NVIDIA's assembler would rather spill a few values than fit fewer programs on a
# multiprocessor; it is enough for what a thread holds.
DEFAULT: Table = {
    "attention_received/fp32/64": tile(4, 2, 128, QUERIES=32, KEYS=16),
    "attention_received/fp32/128": tile(8, 2, 128, QUERIES=32, KEYS=32),
    # Triton 3.6 needs more than 128 registers here.
    "attention_received/fp32/wide": tile(4, 2, 168, QUERIES=16, KEYS=16),
    "attention_received/16bit/64": tile(4, 2, QUERIES=64, KEYS=32),
    "attention_received/16bit/128": tile(8, 2, QUERIES=64, KEYS=32),
    "attention_received/16bit/wide": tile(4, 2, QUERIES=16, KEYS=16),
    "head_mean": tile(BLOCK=1024),
    # float32 is multiplied without matrix instructions, which takes more registers per product; a third tile of it in
    # flight takes all there are.
    "gram/fp32": tile(8, 2, BLOCK=64, BLOCK_CHANNELS=16),
    "gram/16bit": tile(4, 3, BLOCK=64, BLOCK_CHANNELS=32),
    # Rows and columns of one step of the pass over the matrix.
    "distances": tile(BLOCK_OWN=16, BLOCK_WALK=64),
    # By lanes; enough threads that minimum, weight and row of a window stay in registers.
    "greedy/64": tile(1, registers=160),
    "greedy/128": tile(1, registers=160),
    "greedy/256": tile(2, registers=160),
    "greedy/512": tile(4, registers=160),
    "greedy/1024": tile(8, registers=160),
    "greedy/2048": tile(8, registers=160),
    "greedy/4096": tile(8, registers=160),
    # One entry for all kernels, so that the product of a token with itself is that of two equal tokens. Distances and
    # what they are compared by take several registers for each of a thread's products: hence few products.
    "dpc_knn/fp32": tile(8, 2, 255, BLOCK=64, COLUMNS=32, CHANNELS=16),
    "dpc_knn/16bit": tile(8, 3, 255, BLOCK=64, COLUMNS=32, CHANNELS=32),
    "norms": tile(8, TOKENS=32, CHANNELS=64),
    "second_smallest/fp32": tile(8, 2, 255, BLOCK=64, CHANNELS=16),
    "second_smallest/16bit": tile(8, 2, 255, BLOCK=64, CHANNELS=32),
    "step": tile(8, TOKENS=32, CHANNELS=64, PARTS=512),
    # Few tokens a program: those of one image have to fill a device.
    "dpp_variances": tile(4, TOKENS=16, CHANNELS=128),
    "dpp_step": tile(4, registers=168, TOKENS=16, CHANNELS=128, PARTS=512),
    # By channels: a tile of keys is held in 32 registers per thread.
    "query_logits/16": tile(BLOCK=256),
    "query_logits/32": tile(BLOCK=128),
    "query_logits/64": tile(BLOCK=64),
    "query_logits/128": tile(BLOCK=32),
    "query_logits/wide": tile(BLOCK=16),
    "query_scores": tile(BLOCK=256, BLOCK_PARTS=64),
    # By lanes of windows: BLOCK tokens are compared with all of them at once, SCAN where windows do not matter. One
    # program per prompt: no second one wants to share the multiprocessor.
    "window_budget/16": tile(4, registers=128, BLOCK=64, SCAN=1024),
    "window_budget/64": tile(4, registers=128, BLOCK=16, SCAN=1024),
    "window_budget/256": tile(4, registers=128, BLOCK=4, SCAN=1024),
    "window_budget/1024": tile(8, registers=128, BLOCK=1, SCAN=1024),
    "window_budget/2048": tile(8, registers=128, BLOCK=1, SCAN=1024),
    # A window of two temporal grids or two seconds of sound fits one block: its passes are one load each.
    "segment_topk": tile(4, registers=128, BLOCK=1024),
    "kept_index": tile(BLOCK=1024, BLOCK_COUNT=4096),
    "gather": tile(ROWS=32, COLUMNS=64),
    "triple_rows": tile(BLOCK=512),
    # Channels of a row: eight per thread, one wide load of 16-bit features.
    "merge_rows": tile(BLOCK=1024),
    "temporal_similarity": tile(4, TOKENS=16, CHANNELS=128),
    # By lanes of groups; several 64-bit numbers of each are held at once.
    "group_budget/64": tile(2),
    "group_budget/512": tile(4),
    "group_budget/2048": tile(8, registers=168),
}

OVERRIDES: Mapping[str, Table] = {
    "sm_80": {},
    # Triton 3.8 spilled with a lower bound.
    "sm_86": {"attention_received/fp32/128": tile(8, 2, 168, QUERIES=32, KEYS=32)},
    "sm_89": {"attention_received/fp32/128": tile(8, 2, 168, QUERIES=32, KEYS=32)},
    "sm_90": {},
    "sm_100": {
        # Triton 3.6 spilled without a bound.
        "gram/fp32": tile(8, 2, 255, BLOCK=64, BLOCK_CHANNELS=16),
        "gram/16bit": tile(4, 3, 255, BLOCK=64, BLOCK_CHANNELS=32),
    },
    "sm_120": {
        # Triton 3.6, 3.7 or 3.8 spilled without a bound, or with a lower one.
        "attention_received/fp32/64": tile(4, 2, 168, QUERIES=32, KEYS=16),
        "attention_received/fp32/128": tile(8, 2, 168, QUERIES=32, KEYS=32),
        "attention_received/16bit/64": tile(4, 2, 255, QUERIES=64, KEYS=32),
        "attention_received/16bit/wide": tile(4, 2, 128, QUERIES=16, KEYS=16),
        "distances": tile(registers=168, BLOCK_OWN=16, BLOCK_WALK=64),
    },
    "gfx942": {
        # A mask takes two scalar registers for every element of a thread: with half as many warps 3.6 spilled two
        # of the one, 3.8 some of the other's scattered, unaligned rows.
        "greedy/4096": tile(16, registers=160),
        "dpp_step": tile(16, TOKENS=16, CHANNELS=128, PARTS=512),
        # Matrix instructions for so few columns give a thread four products, those for more give it sixteen.
        "dpc_knn/fp32": tile(4, 2, BLOCK=64, COLUMNS=16, CHANNELS=16),
        "dpc_knn/16bit": tile(4, 2, BLOCK=64, COLUMNS=16, CHANNELS=32),
    },
}
"""What differs from `DEFAULT`, by kind of device; a kind that is not here follows `DEFAULT`."""


def number_case(dtype: torch.dtype) -> str:
    """float32, or what matrix instructions take."""
    return "fp32" if dtype == torch.float32 else "16bit"


def width_case(channels: int, narrowest: int = 64) -> str:
    """The power of two, `narrowest` to 128, that so many channels fit in, else "wide"."""
    width = narrowest
    while width < channels:
        width *= 2
    return str(width) if width <= 128 else "wide"
