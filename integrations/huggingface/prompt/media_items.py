"""Items: the videos, audios and images of a batch of prompts, as their tokens show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from seats_ops.layout import Modality


def items_of_rows(per_row: list[int], per_item: list[int]) -> list[int]:
    """Which encoded item (a video, an image) each item of a batch is.

    `generate` encodes before it copies every prompt for beams or several answers, several times in a row: the items of
    one copy then stand for those of all.

    Args:
        per_row: tokens of the modality in every prompt.
        per_item: tokens of every encoded item, in order of appearance.

    Raises:
        ValueError: items do not fill the prompts.
    """
    copies = max(1, sum(per_row) // max(1, sum(per_item)))
    left, order = list(range(len(per_item))), []
    for row in range(0, len(per_row), copies):
        here: list[int] = []
        while left and sum(per_item[i] for i in here) < per_row[row]:
            here.append(left.pop(0))
        same = per_row[row : row + copies] == [sum(per_item[i] for i in here)] * copies
        if not same:
            break
        order += here * copies
    else:
        if not left:
            return order
    raise ValueError(f"expected items that make up {per_row} tokens per prompt, got items of {per_item} tokens")


def lengths_of_items(
    modality: Tensor, rows: Tensor, kind: Modality, known: Mapping[Modality, Sequence[int]]
) -> list[int]:
    """Tokens per item of one modality: as the encoder said where that is `known`, else from the text between them.

    Raises:
        ValueError: another number of tokens than the encoder produced.
    """
    if kind not in known:
        return item_lengths(modality, rows, kind)
    lengths, expected = list(known[kind]), int((modality == kind).sum())
    if sum(lengths) != expected:
        name = kind.name.lower()
        raise ValueError(f"input_ids: expected {sum(lengths)} {name} tokens as the encoder produced, got {expected}")
    return lengths


def most_in_a_row(lengths: list[int], per_row: list[int]) -> int:
    """Items of the prompt that has the most.

    Args:
        lengths: tokens of every item of a batch.
        per_row: tokens of all items of every prompt.
    """
    ends, row_ends = (torch.tensor(n, dtype=torch.int64, device="cpu").cumsum(0) for n in (lengths, per_row))
    row = torch.bucketize(ends, row_ends)
    return int(torch.bincount(row).max()) if lengths else 0


def item_lengths(modality: Tensor, rows: Tensor, kind: Modality) -> list[int]:
    """Tokens per item of one modality; text between two tokens, or another prompt, starts a new item."""
    member = modality == kind
    texts = (modality == Modality.TEXT).cumsum(0)[member]
    if texts.numel() == 0:
        return []
    new = torch.ones_like(texts, dtype=torch.bool)
    new[1:] = (texts[1:] != texts[:-1]) | (rows[member][1:] != rows[member][:-1])
    return torch.bincount(new.cumsum(0) - 1).tolist()
