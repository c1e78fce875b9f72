"""What must hold between the values of a TokenLayout, looked at where looking costs nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.ops.segments import rows_of
from seats_ops.validation import describe, reads_are_free

NUM_MODALITIES = 4
# Budgets are held for every id up to the largest.
MOST_IDS = 2**24


def check_layout_values(
    modality: Tensor,
    cu_seqlens: Tensor,
    block: Tensor | None,
    window: Tensor | None,
    blocks: tuple[tuple[int, int], ...] | None,
    num_windows: int | None,
) -> None:
    """Raise TypeError / ValueError for ids out of range, blocks or windows shared by prompts, hints that are wrong."""
    if num_windows is not None and type(num_windows) is not int:
        raise TypeError(f"num_windows: expected an int or None, got {describe(num_windows)}")
    if not reads_are_free(modality) or modality.numel() == 0:
        return
    low, high = (int(v) for v in modality.aminmax())
    if low < 0 or high >= NUM_MODALITIES:
        raise ValueError(f"modality: expected values of Modality, 0 to {NUM_MODALITIES - 1}, got {low} to {high}")
    rows = rows_of(cu_seqlens, len(modality))
    for name, ids in (("block", block), ("window", window)):
        if ids is not None and not -1 <= int(ids.min()) <= int(ids.max()) < MOST_IDS:
            raise ValueError(
                f"{name}: expected ids from -1 to {MOST_IDS - 1}, got {int(ids.min())} to {int(ids.max())}"
            )
    if window is not None:
        inside = window >= 0
        if num_windows is not None and int(window.max()) >= num_windows:
            raise ValueError(
                f"num_windows: expected more than the largest window id {int(window.max())}, got {num_windows}"
            )
        _check_ascending(window[inside].long(), rows[inside], len(cu_seqlens) - 1)
    if block is not None:
        inside = block >= 0
        _check_blocks(block[inside].long(), rows[inside], modality[inside].long(), blocks)


def _check_ascending(window: Tensor, rows: Tensor, num_rows: int) -> None:
    """Window ids of a prompt lie above those of the prompts before it."""
    first = window.new_full((num_rows,), torch.iinfo(torch.int64).max).scatter_reduce(0, rows, window, "amin")
    last = window.new_full((num_rows,), -1).scatter_reduce(0, rows, window, "amax")
    if bool((first[1:] <= last.cummax(0).values[:-1]).any()):
        raise ValueError(
            "window: expected ids that ascend over prompts, got an id at or below one of an earlier prompt"
        )


def blocks_of(block: Tensor, modality: Tensor) -> list[tuple[int, int]]:
    """(modality, number of tokens) of every block, ascending by id; ValueError for a block of several modalities."""
    unique, slot, counts = block.unique(return_inverse=True, return_counts=True)
    return list(zip(_one_per_block("modality", unique, slot, modality).tolist(), counts.tolist(), strict=True))


def _one_per_block(name: str, unique: Tensor, slot: Tensor, values: Tensor) -> Tensor:
    """The value that all tokens of a block share."""
    of_block = torch.zeros_like(unique).scatter_(0, slot, values)
    mixed = unique[slot[of_block[slot] != values]]
    if mixed.numel():
        raise ValueError(f"block: expected blocks of one {name}, got several in block {int(mixed[0])}")
    return of_block


def _check_blocks(block: Tensor, rows: Tensor, modality: Tensor, blocks: tuple[tuple[int, int], ...] | None) -> None:
    """Every block holds tokens of one prompt and one modality, and `blocks` says how many."""
    unique, slot = block.unique(return_inverse=True)
    _one_per_block("prompt", unique, slot, rows)
    found = blocks_of(block, modality)
    if blocks is not None:
        given = [(int(m), n) for m, n in blocks if n]
        if found != given:
            raise ValueError(f"blocks: expected (modality, tokens) {found[:4]}... as block says, got {given[:4]}...")
