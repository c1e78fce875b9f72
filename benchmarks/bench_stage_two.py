"""One drop of Stage II: scores from q and K, budgets, selection, and everything compacted."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.drop_inputs import HEAD_DIM, HEADS, KEY_HEADS, pruned_layout
from benchmarks.entry import OURS, Entry, Size, randn
from benchmarks.per_window_loop import drop_in_windows
from seats_ops import StagePruner
from seats_ops import functional as F


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    layout = pruned_layout(size, device)
    tokens = len(layout)
    query, key = (
        randn(1, HEADS, HEAD_DIM, device=device, seed=size.seed),
        randn(tokens, KEY_HEADS, HEAD_DIM, device=device, seed=size.seed),
    )
    tensors = [randn(tokens, width, device=device, seed=size.seed) for width in (size.hidden_size, HEAD_DIM, HEAD_DIM)]
    window, _ = layout.windows()
    pruner = StagePruner(0.5)
    total = int((window >= 0).sum()) // 2

    def ours() -> object:
        scores = F.query_relevance(query, key, layout.cu_seqlens, max_seqlen=tokens)
        keep = pruner(scores, layout)
        return F.compact(keep, *tensors, num_kept=int(keep.sum()))

    yield Entry(
        "stage_two/drop",
        {OURS: ours, "loop over windows": lambda: drop_in_windows(query[0], key, window, total, tensors)},
        flops=2 * HEADS * HEAD_DIM * tokens,
        num_bytes=key.numel() * key.element_size() + 2 * sum(t.numel() * t.element_size() for t in tensors),
        tests=(
            "tests/operators/test_stage_pruner.py",
            *(f"tests/ops/test_{name}.py" for name in ("query_relevance", "window_budget", "segment_topk", "compact")),
        ),
    )
