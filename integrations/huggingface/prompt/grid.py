"""Where the packed tokens of B prompts stand in a padded batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """B rows of M slots; read row by row, the filled slots are the tokens of a `TokenLayout` in order.

    Where every prompt is answered several times (beams, several sequences), the model runs equal rows next to each
    other. Tokens are selected for one of them, and all are thinned alike.

    Attributes:
        filled: bool [B, M] on the CPU, False at padding.
        copies: rows of the model, C, for each of the B rows.
    """

    filled: Tensor
    copies: int = 1

    @property
    def width(self) -> int:
        """Slots per row, M."""
        return self.filled.shape[1]

    @property
    def is_full(self) -> bool:
        """No slot is padding."""
        return bool(self.filled.all())

    def slots(self) -> Tensor:
        """int64 [T] on the CPU: flat slot (row * M + column) of every token."""
        return self.filled.flatten().nonzero().squeeze(1)

    def all_rows(self) -> Grid:
        """The rows of the model, as a grid of B * C rows."""
        return Grid(self.filled.repeat_interleave(self.copies, 0)) if self.copies > 1 else self

    def repeat(self, values: Tensor) -> Tensor:
        """[T] on the CPU -> [T * C]: one value per token, for all rows of the model."""
        spread = values.new_zeros(self.filled.shape)
        spread[self.filled] = values
        return spread.repeat_interleave(self.copies, 0)[self.all_rows().filled]

    def positions(self) -> Tensor:
        """int64 [B * C, M]: the how-manieth token of its row a slot holds; 0 at padding."""
        return (self.all_rows().filled.long().cumsum(1) - 1).clamp(min=0)

    def keep(self, index: Tensor) -> tuple[Grid, Tensor]:
        """Bring the kept tokens together, padded on the left to the longest row, so that every row ends in its query.

        Args:
            index: int64 [K] on the CPU, the tokens that go on, in their order; rows stay in theirs.

        Returns:
            The new grid, B x M', and int64 [B * C * M'] on the CPU: the flat slot, counted over all rows of the model,
            whose content each new slot takes; padding takes some slot of its own row.
        """
        num_rows = self.filled.shape[0]
        slots = self.slots()[index]
        counts = torch.bincount(slots // self.width, minlength=num_rows)
        width = int(counts.max()) if num_rows else 0
        filled = torch.arange(width, dtype=torch.int64, device="cpu") >= width - counts[:, None]
        column = torch.zeros(num_rows, width, dtype=torch.int64, device="cpu")
        column[filled] = slots % self.width
        row = torch.arange(num_rows * self.copies, dtype=torch.int64, device="cpu") * self.width
        return Grid(filled, self.copies), (row[:, None] + column.repeat_interleave(self.copies, 0)).flatten()

    def replaced(self, x: Tensor, values: Tensor) -> Tensor:
        """[B * C, M, ...] with the content of the filled slots replaced by `values` [T, ...], in all copies alike."""
        if self.copies > 1:
            rows = torch.zeros(len(self.filled), self.width, dtype=torch.int64, device="cpu")
            rows[self.filled] = torch.arange(len(values), dtype=torch.int64, device="cpu")
            index = rows.repeat_interleave(self.copies, 0)[self.all_rows().filled]
            values = values[index.to(values.device, non_blocking=True)]
        slots = self.all_rows().slots().to(x.device, non_blocking=True)
        return x.flatten(0, 1).index_copy(0, slots, values).view_as(x)

    def packed(self, x: Tensor) -> Tensor:
        """[B * C, M, ...] -> [T, ...]: the content of the filled slots."""
        flat = x[:: self.copies].flatten(0, 1)
        return flat if self.is_full else flat.index_select(0, self.slots().to(x.device, non_blocking=True))
