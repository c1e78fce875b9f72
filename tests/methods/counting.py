"""What a stage says it leaves, for the prompts of a layout."""

from __future__ import annotations

from typing import Any

import torch

from seats_ops import Modality, TokenLayout
from tests.methods.cases import Found

NAMES = tuple(kind.name.lower() for kind in Modality)


def left_of(layout: TokenLayout, keep_mask: torch.Tensor, row: int) -> dict[str, int]:
    """Tokens by modality that a mask leaves of a prompt."""
    part = slice(*layout.cu_seqlens[row : row + 2].tolist())
    kept = layout.modality[part][keep_mask[part]].long()
    return dict(zip(NAMES, torch.bincount(kept, minlength=len(NAMES)).tolist(), strict=True))


def check_counts(stage: Any, layout: TokenLayout, keep_mask: torch.Tensor) -> None:
    """`count_tokens` is what is left, or lies with it between the bounds."""
    for row in range(layout.num_rows):
        found, left = Found(layout, row), left_of(layout, keep_mask, row)
        said = stage.count_tokens(found)
        if stage.count_kind in ("shape", "reconciled"):
            assert said == left
            continue
        for name, (least, most) in stage.count_bounds(found).items():
            assert least <= left[name] <= most, (name, least, left[name], most)
            assert least <= said[name] <= most, (name, least, said[name], most)
