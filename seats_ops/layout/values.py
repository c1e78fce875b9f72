"""What must hold between the values of a TokenLayout, looked at where looking costs nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.layout.modality import MediaShape
from seats_ops.ops.segments import rows_of
from seats_ops.validation import check_integers, describe, reads_are_free

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


def check_media_values(
    modality: Tensor,
    grid: Tensor | None,
    shapes: tuple[MediaShape, ...] | None,
    seconds: Tensor | None,
    question: Tensor | None,
) -> None:
    """Raise TypeError / ValueError for facts about media that do not fit the tokens."""
    total = len(modality)
    given = ((n, t) for n, t in (("grid", grid), ("seconds", seconds), ("question", question)) if t is not None)
    for name, tensor in given:
        shape = [total, 4] if name == "grid" else [total]
        if not isinstance(tensor, Tensor) or list(tensor.shape) != shape or tensor.device != modality.device:
            raise ValueError(f"{name}: expected {shape} on {modality.device}, got {describe(tensor)}")
    if grid is not None:
        check_integers("grid", grid, 2)
    if seconds is not None and not seconds.is_floating_point():
        raise TypeError(f"seconds: expected floats, got {describe(seconds)}")
    if question is not None and question.dtype != torch.bool:
        raise TypeError(f"question: expected a bool tensor, got {describe(question)}")
    if (grid is None) != (shapes is None):
        raise ValueError(f"shapes: expected to be given with grid, got {'shapes' if grid is None else 'grid'} alone")
    if grid is None or shapes is None or not total or not reads_are_free(modality):
        return
    inside = grid[:, 0] >= 0
    if not torch.equal(inside, modality != 0):
        raise ValueError("grid: expected an item for every token of media and for no text, got another choice")
    sizes = torch.tensor([shape[1:] for shape in shapes], dtype=torch.int64, device="cpu").view(-1, 3)
    kinds = torch.tensor([int(shape[0]) for shape in shapes], dtype=torch.int64, device="cpu")
    item, places = grid[inside, 0].long(), grid[inside, 1:].long()
    if len(item) and int(item.max()) >= len(shapes):
        raise ValueError(f"grid: expected items below {len(shapes)}, as many as shapes, got {int(item.max())}")
    if bool((kinds[item] != modality[inside].long()).any()):
        raise ValueError("grid: expected tokens of the modality that shapes says of their item, got another")
    if bool(((places < 0) | (places >= sizes[item])).any()):
        raise ValueError("grid: expected t, h and w inside the shape of their item, got some outside")


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
