"""Sizes of the kernels' tiles, without Triton: how many rows of how many channels a program holds."""

from __future__ import annotations

import torch

from seats_ops.ops.launch import split_channels

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


def shared_memory_need(dtype: torch.dtype, channels: int) -> int:
    """Bytes of shared memory that a program takes at most, on any target.

    A tile of queries and one of keys, and the logits between them on their way to another layout; where matrix
    instructions take 64 queries at once, the next tile is on its way meanwhile.
    """
    head, tail = split_channels(channels)
    queries, keys, _ = blocks(dtype, head, tail)
    rows = keys + (2 * queries if queries == 64 else queries)
    return rows * (head + tail) * dtype.itemsize + 4 * queries * keys
