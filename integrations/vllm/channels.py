"""Positions that ride on embeddings, from the encoder to where the decoder is entered, through the engine's own caches.

A column of bfloat16 is exact for whole numbers up to 256 only, so that a position travels as two digits to that base,
one pair for each of its three axes.
"""

from __future__ import annotations

import torch
from torch import Tensor

BASE = 256
WIDTH = 6
LONGEST = BASE * BASE
"""Positions that an item may have: 43 minutes at 25 a second."""


def load(rows: Tensor, positions: Tensor) -> Tensor:
    """[N, D] and int64 [3, N] on its device -> [N, D + 6] of the same dtype; positions must be below `LONGEST`."""
    digits = torch.cat([positions // BASE, positions % BASE]).T
    return torch.cat([rows, digits.to(rows.dtype)], 1)


def unload(rows: Tensor) -> tuple[Tensor, Tensor]:
    """[N, D + 6] -> [N, D] and int64 [3, N]."""
    plain, digits = rows[:, :-WIDTH], rows[:, -WIDTH:].T.long()
    return plain, digits[:3] * BASE + digits[3:]
