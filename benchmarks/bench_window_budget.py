"""window_budget: a drop's budgets, window by window."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch

from benchmarks.drop_inputs import pruned_layout
from benchmarks.entry import OURS, Entry, Size, randn
from benchmarks.per_window_loop import budgets_in_windows
from seats_ops import functional as F


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    layout = pruned_layout(size, device)
    window, num_windows = layout.windows()
    scores = randn(len(layout), device=device, seed=size.seed, dtype=torch.float32).softmax(0)
    total = int((window >= 0).sum()) // 2
    each = total // size.batch
    totals = torch.tensor([[each // 2, each - each // 2]] * size.batch).to(device)
    offsets = (torch.arange(size.batch + 1) * num_windows // size.batch).to(device) if size.batch > 1 else None
    ours = functools.partial(
        F.window_budget,
        *(scores, layout.modality, window, totals),
        window_offsets=offsets,
        num_windows=num_windows,
        temperature=0.1,
    )

    yield Entry(
        "window_budget/drop",
        {OURS: ours, "loop over windows": lambda: budgets_in_windows(scores, window, num_windows, total)},
        flops=4 * len(layout),
        num_bytes=20 * len(layout) + 16 * num_windows,
        tests=("tests/ops/test_window_budget.py",),
    )
