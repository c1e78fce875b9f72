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
        """Give kept tokens the sums that a stage gave them, also those that had no features of their own.

        Args:
            merge: between the tokens of the grid.
            grid: of one copy of the prompts, before anything is dropped.
        """
        target, source, coefficient = (part.cpu() for part in merge)
        slots = [self._slots_of_copy(grid, copy) for copy in range(grid.copies)]
        to, from_, weight = (
            torch.cat([tokens[target] for tokens in slots]),
            torch.cat([tokens[source] for tokens in slots]),
            coefficient.repeat(grid.copies),
        )
        row_of = torch.full((grid.all_rows().filled.numel(),), -1, dtype=torch.int64, device="cpu")
        row_of[self.slots] = torch.arange(len(self.slots), dtype=torch.int64, device="cpu")
        visual = row_of[from_] >= 0
        to, from_, weight = to[visual], from_[visual], weight[visual]
        new = to[row_of[to] < 0].unique()
        row_of[new] = torch.arange(len(new), dtype=torch.int64, device="cpu") + len(self.slots)
        self.slots = torch.cat([self.slots, new])
        # A target that keeps nothing of itself has no triple of its own, and may be left without any.
        forgotten = torch.cat([tokens[target] for tokens in slots])
        alone = forgotten[~torch.isin(forgotten, to) & (row_of[forgotten] >= 0)].unique()
        to, from_ = torch.cat([to, alone]), torch.cat([from_, alone])
        weight = torch.cat([weight, torch.zeros(len(alone), dtype=weight.dtype, device="cpu")])
        triples = row_of[to], row_of[from_], weight
        self.features = [
            merge_rows(torch.nn.functional.pad(rows, (0, 0, 0, len(new))), *(part.to(rows.device) for part in triples))
            for rows in self.features
        ]

    def _slots_of_copy(self, grid: Grid, copy: int) -> Tensor:
        """int64 [T]: flat slots, among all rows of the model, of the tokens of one copy of the prompts."""
        slots = grid.slots()
        row = slots // grid.width
        return (row * grid.copies + copy) * grid.width + slots % grid.width

    def keep(self, num_slots: int, grid: Grid, source: Tensor) -> None:
        """Follow `Grid.keep`: `source` says which of the `num_slots` old slots each slot of `grid` was."""
        filled = grid.filled.flatten()
        moved = torch.full((num_slots,), -1, dtype=torch.int64, device="cpu")
        moved[source[filled]] = filled.nonzero().squeeze(1)
        self.slots = moved[self.slots]
        kept = (self.slots >= 0).nonzero().squeeze(1)
        self.slots = self.slots[kept]
        self.features = [rows.index_select(0, kept.to(rows.device)) for rows in self.features]
