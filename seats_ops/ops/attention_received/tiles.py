"""Sizes of the kernels' tiles, without Triton: how many rows of how many channels a program holds."""

from __future__ import annotations

import torch

NUM_STAGES = 2


def blocks(dtype: torch.dtype, head: int, tail: int) -> tuple[int, int, int]:
    """(queries, keys) of a tile and warps of a program: what stays clear of spills on all targets."""
    if dtype == torch.float32:
        if head + tail <= 64:
            return 32, 16, 4
        return (32, 32, 8) if head + tail <= 128 else (16, 16, 4)
    if head + tail <= 64:
        return 64, 32, 4
    return (64, 32, 8) if head + tail <= 128 else (16, 16, 4)
