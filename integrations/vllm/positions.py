"""Positions of a prompt whose media were thinned, from lengths alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seats_ops.integrations.vllm.units import Unit


class Placed(NamedTuple):
    """A unit in a prompt.

    Attributes:
        offset, length: its columns; of a video with its sound those of the sound's begin and end tokens too.
        unit: all of it.
    """

    offset: int
    length: int
    unit: Unit


def prompt_positions(length: int, placed: Sequence[Placed]) -> tuple[Tensor, int]:
    """int64 [3, length], and what the first token to come is ahead of its column.

    Text is numbered as in the whole prompt, and an answer goes on from it. Columns of media have the position where
    their unit begins, to which that of the token within the unit is to be added.
    """
    found = torch.empty(length, dtype=torch.int64, device="cpu")
    column = following = 0
    for offset, width, unit in sorted(placed, key=lambda one: one.offset):
        text = offset - column
        found[column:offset] = torch.arange(following, following + text, dtype=torch.int64, device="cpu")
        following += text
        pair = len(unit.items) > 1
        begin = following + (pair and not unit.clock.shared_ends)
        found[offset : offset + width] = begin
        if pair:
            # Begin and end of the sound.
            found[offset] = begin - 1
            found[offset + width - 1] = begin + unit.end
        following += unit.end + 2 * (begin - following)
        column = offset + width
    found[column:] = torch.arange(following, following + length - column, dtype=torch.int64, device="cpu")
    following += length - column
    return found.expand(3, -1).clone(), following - length
