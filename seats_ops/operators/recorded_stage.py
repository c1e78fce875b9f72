"""A stage that keeps what a trace says was kept: for debugging and for comparing devices."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from seats_ops.layout import TokenLayout, check_layout
from seats_ops.operators.stored import Stored
from seats_ops.validation import describe


@dataclass(frozen=True)
class RecordedStage(Stored):
    """Keeps exactly the recorded tokens; computes no score.

    Attributes:
        kept: for every prompt the kept columns of the original prompt, text included, ascending.

    Example:
        >>> import torch
        >>> from seats_ops import RecordedStage, TokenLayout
        >>> layout = TokenLayout(torch.tensor([1, 1, 1, 0]), torch.arange(4), torch.tensor([0, 4]))
        >>> RecordedStage(kept=((1, 3),))(layout)
        tensor([False,  True, False,  True])
    """

    inputs: ClassVar[tuple[str, ...]] = ()

    kept: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        kept = tuple(tuple(int(column) for column in row) for row in self.kept)
        for i, row in enumerate(kept):
            if any(a >= b for a, b in pairwise(row)) or (row and row[0] < 0):
                raise ValueError(f"kept[{i}]: expected ascending columns >= 0, got {describe(row)}")
        object.__setattr__(self, "kept", kept)

    def __call__(self, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        """bool [T] keep mask. Raises ValueError if the layout has other prompts than were recorded."""
        if check_layout(layout).num_rows != len(self.kept):
            raise ValueError(f"layout: expected {len(self.kept)} prompt(s) as recorded, got {layout.num_rows}")
        rows = layout.rows()
        keep_mask = torch.zeros(len(layout), dtype=torch.bool, device=rows.device)
        for row, columns in enumerate(self.kept):
            wanted = torch.tensor(columns, dtype=torch.int64, device=rows.device)
            keep_mask |= (rows == row) & torch.isin(layout.position.long(), wanted)
        missing = sum(map(len, self.kept)) - int(keep_mask.sum())
        if missing:
            raise ValueError(f"layout: expected all recorded tokens to be there, got {missing} too few")
        return keep_mask
