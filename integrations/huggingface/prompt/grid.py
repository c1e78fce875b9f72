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

    def keep(self, keep_mask: Tensor) -> tuple[Grid, Tensor]:
        """Bring the kept tokens together, padded on the left to the longest row, so that every row ends in its query.

        Args:
            keep_mask: bool [T] on the CPU.

        Returns:
            The new grid, B x M', and int64 [B * C * M'] on the CPU: the flat slot, counted over all rows of the model,
            whose content each new slot takes; padding takes some slot of its own row.
        """
        num_rows = self.filled.shape[0]
        slots = self.slots()[keep_mask]
        counts = torch.bincount(slots // self.width, minlength=num_rows)
        width = int(counts.max()) if num_rows else 0
        filled = torch.arange(width, dtype=torch.int64, device="cpu") >= width - counts[:, None]
        column = torch.zeros(num_rows, width, dtype=torch.int64, device="cpu")
        column[filled] = slots % self.width
        row = torch.arange(num_rows * self.copies, dtype=torch.int64, device="cpu") * self.width
        return Grid(filled, self.copies), (row[:, None] + column.repeat_interleave(self.copies, 0)).flatten()

    def packed(self, x: Tensor) -> Tensor:
        """[B * C, M, ...] -> [T, ...]: the content of the filled slots."""
        flat = x[:: self.copies].flatten(0, 1)
        return flat if self.is_full else flat.index_select(0, self.slots().to(x.device, non_blocking=True))
