"""What a tile of attention_received is called in the launch table, and the shared memory it takes, without Triton."""

from __future__ import annotations

import torch

from seats_ops.ops.launch import split_channels
from seats_ops.ops.tiles import Table, Tile, number_case, width_case


def tile_of(table: Table, dtype: torch.dtype, channels: int) -> Tile:
    """Queries and keys of a tile, by what a row takes."""
    return table[f"attention_received/{number_case(dtype)}/{width_case(sum(split_channels(channels)))}"]


def shared_memory_need(table: Table, dtype: torch.dtype, channels: int) -> int:
    """Bytes of shared memory that a program takes at most, on any target that follows `table`.

    Its own tile and those of the other side that are on their way, and the logits between two of them on their way to
    another layout. Of tiles in flight, one is in registers, unless matrix instructions take 64 rows at once and read
    them where they lie.
    """
    tile = tile_of(table, dtype, channels)
    queries, keys = tile["QUERIES"], tile["KEYS"]
    copies = tile.num_stages if queries >= 64 else max(1, tile.num_stages - 1)
    rows = max(keys + copies * queries, queries + copies * keys)
    return rows * sum(split_channels(channels)) * dtype.itemsize + 4 * queries * keys
