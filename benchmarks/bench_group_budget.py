"""group_budget: a quarter of a clip's tokens shared over its grids."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.entry import OURS, Entry, Size, randn
from seats_ops import functional as F
from seats_ops.testing import packed_offsets


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    groups, places = size.batch * size.grids, size.side**2 // 4
    scores = randn(groups, device=device, seed=size.seed, dtype=torch.float32)
    lengths = torch.full((groups,), places, device=device)
    totals = torch.full((size.batch,), size.video_tokens // 4, device=device)
    offsets = packed_offsets([size.grids] * size.batch).to(device)

    def composed() -> list[Tensor]:
        """Floors and largest remainders of a softmax, a prompt after the other; a minimum of 1, no upper bound."""
        budgets = []
        for row, total in zip(scores.split(size.grids), totals.tolist(), strict=True):
            real = row.div(0.7).softmax(0) * (total - size.grids)
            whole = real.floor()
            extra = int(total - size.grids - whole.sum())
            budgets.append(whole.index_add(0, (real - whole).topk(extra).indices, torch.ones_like(real[:extra])) + 1)
        return budgets

    yield Entry(
        "group_budget/clip",
        {
            OURS: lambda: F.group_budget(
                scores, lengths, totals, offsets, temperature=0.7, minimum=1, max_groups=size.grids
            ),
            "softmax, floor, topk": composed,
        },
        flops=4 * groups,
        num_bytes=20 * groups,
        tests=("tests/ops/test_group_budget.py",),
    )
