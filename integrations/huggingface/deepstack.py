"""DeepStack features (arXiv 2406.04334), held back from the text model so that they shrink with the tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.integrations.huggingface.prompt.grid import Grid


class DeepStack:
    """What a text model would add to its visual tokens after each of its first layers.

    The text model holds mask and features in local variables, where no hook can shorten them.

    Attributes:
        features: per layer a tensor [V, D], one row per visual token still there, in the order of the batch.
        slots: int64 [V] on the CPU, flat slots of those tokens.
    """

    def __init__(self, features: list[Tensor], grid: Grid, visual: Tensor) -> None:
        """`visual`: bool [T] on the CPU, which tokens of the grid the features belong to."""
        self.features = features
        self.slots = grid.slots()[visual]

    def add(self, layer: int, hidden: Tensor) -> Tensor:
        """[B, M, D] hidden states after `layer` (1-based), with that layer's features added."""
        if layer > len(self.features):
            return hidden
        slots = self.slots.to(hidden.device, non_blocking=True)
        features = self.features[layer - 1].to(hidden)
        return hidden.flatten(0, 1).index_add(0, slots, features).view_as(hidden)

    def keep(self, num_slots: int, grid: Grid, source: Tensor) -> None:
        """Follow `Grid.keep`: `source` says which of the `num_slots` old slots each slot of `grid` was."""
        filled = grid.filled.flatten()
        moved = torch.full((num_slots,), -1, dtype=torch.int64, device="cpu")
        moved[source[filled]] = filled.nonzero().squeeze(1)
        self.slots = moved[self.slots]
        kept = (self.slots >= 0).nonzero().squeeze(1)
        self.slots = self.slots[kept]
        self.features = [rows.index_select(0, kept.to(rows.device)) for rows in self.features]
