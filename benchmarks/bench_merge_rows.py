"""merge_rows: every three tokens of a drop become their mean, in the place of the first."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.drop_inputs import pruned_layout
from benchmarks.entry import OURS, Entry, Size, randn
from seats_ops import functional as F


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    tokens = len(pruned_layout(size, device))
    features = randn(tokens, size.hidden_size, device=device, seed=size.seed)
    source = torch.arange(tokens, device=device)
    target = source // 3 * 3
    coefficient = torch.full((tokens,), 1 / 3, dtype=torch.float32, device=device)

    def index_add() -> Tensor:
        weighted = features[source].float() * coefficient[:, None]
        sums = torch.zeros(features.shape, dtype=torch.float32, device=device).index_add(0, target, weighted)
        merged = torch.zeros(tokens, dtype=torch.bool, device=device).index_fill(0, target, True)
        return torch.where(merged[:, None], sums.to(features.dtype), features)

    yield Entry(
        "merge_rows/drop",
        {OURS: lambda: F.merge_rows(features, target, source, coefficient), "index_add": index_add},
        flops=2 * tokens * size.hidden_size,
        num_bytes=2 * features.numel() * features.element_size() + 20 * tokens,
        tests=("tests/ops/test_merge_rows.py",),
    )
