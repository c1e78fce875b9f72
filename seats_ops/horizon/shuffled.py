"""Relevance that was handed to the wrong tokens: what selection by it has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seats_ops.layout import TokenLayout, group_tokens
from seats_ops.operators.scorers import Relevance


def shuffle_seed(seed: int, layer: int, row: int) -> int:
    """Of one prompt after one layer, whatever batch it is in."""
    return int(np.random.SeedSequence((seed, layer, row)).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class ShuffledRelevance(Relevance):
    """Relevance to the query, permuted among the tokens of each (prompt, modality).

    Attributes:
        seeds: one per prompt of the batch.
    """

    seeds: tuple[int, ...] = ()

    def __call__(self, scores: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        """float32 [T]."""
        groups = group_tokens(layout, "modality")
        index, cu_seqlens = groups.packed()
        generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        source = index.clone()
        for row, start, end in zip(groups.row.tolist(), cu_seqlens[:-1].tolist(), cu_seqlens[1:].tolist(), strict=True):
            order = torch.randperm(end - start, generator=generators[row], dtype=torch.int64, device="cpu")
            source[start:end] = index[start + order]
        index, source = (each.to(scores.device) for each in (index, source))
        return scores.index_copy(0, index, scores[source])
