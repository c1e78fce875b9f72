"""Where the packed tokens of B prompts stand in a padded batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """B rows of M slots; read row by row, the filled slots are the tokens of a `TokenLayout` in order.

    Attributes:
        filled: bool [B, M] on the CPU, False at padding.
    """

    filled: Tensor

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

    def positions(self) -> Tensor:
        """int64 [B, M]: the how-manieth token of its row a slot holds; 0 at padding."""
        return (self.filled.long().cumsum(1) - 1).clamp(min=0)

    def keep(self, keep_mask: Tensor) -> tuple[Grid, Tensor]:
        """Bring the kept tokens together, padded on the left to the longest row, so that every row ends in its query.

        Args:
            keep_mask: bool [T] on the CPU.

        Returns:
            The new grid, B x M', and int64 [B * M'] on the CPU: the flat slot of this grid whose content each new slot
            takes; padding takes some slot of its own row.
        """
        num_rows = self.filled.shape[0]
        slots = self.slots()[keep_mask]
        counts = torch.bincount(slots // self.width, minlength=num_rows)
        width = int(counts.max()) if num_rows else 0
        filled = torch.arange(width) >= width - counts[:, None]
        source = (torch.arange(num_rows) * self.width)[:, None].repeat(1, width)
        source[filled] = slots
        return Grid(filled), source.flatten()

    def packed(self, x: Tensor) -> Tensor:
        """[B, M, ...] -> [T, ...]: the content of the filled slots."""
        flat = x.flatten(0, 1)
        return flat if self.is_full else flat.index_select(0, self.slots().to(x.device, non_blocking=True))
