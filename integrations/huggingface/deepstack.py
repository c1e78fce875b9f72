"""DeepStack features (arXiv 2406.04334), held back from the text model so that they shrink with the tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.integrations.huggingface.prompt.grid import Grid
from seats_ops.operators.selection import Merge
from seats_ops.ops.merge_rows.api import merge_rows


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

    def merge(self, merge: Merge, grid: Grid) -> None:
        """Give kept tokens the sums that a stage gave them, of tokens that have features here.

        Args:
            merge: between the tokens of the grid.
            grid: of one copy of the prompts, before anything is dropped.
        """
        token_of_slot = torch.full((grid.filled.numel(),), -1, dtype=torch.int64, device="cpu")
        token_of_slot[grid.slots()] = torch.arange(int(grid.filled.sum()), dtype=torch.int64, device="cpu")
        target, source, coefficient = (part.cpu() for part in merge)
        width, rows = grid.width, self.slots // grid.width
        copy = rows % grid.copies
        token = token_of_slot[(rows // grid.copies) * width + self.slots % width]
        triples = []
        for number in range(grid.copies):
            mine = (copy == number).nonzero().squeeze(1)
            row_of = torch.full((int(grid.filled.sum()),), -1, dtype=torch.int64, device="cpu")
            row_of[token[mine]] = mine
            both = (row_of[target] >= 0) & (row_of[source] >= 0)
            triples.append(Merge(row_of[target[both]], row_of[source[both]], coefficient[both]))
        whole = [torch.cat(parts) for parts in zip(*triples, strict=True)]
        self.features = [merge_rows(rows, *(part.to(rows.device) for part in whole)) for rows in self.features]

    def keep(self, num_slots: int, grid: Grid, source: Tensor) -> None:
        """Follow `Grid.keep`: `source` says which of the `num_slots` old slots each slot of `grid` was."""
        filled = grid.filled.flatten()
        moved = torch.full((num_slots,), -1, dtype=torch.int64, device="cpu")
        moved[source[filled]] = filled.nonzero().squeeze(1)
        self.slots = moved[self.slots]
        kept = (self.slots >= 0).nonzero().squeeze(1)
        self.slots = self.slots[kept]
        self.features = [rows.index_select(0, kept.to(rows.device)) for rows in self.features]
