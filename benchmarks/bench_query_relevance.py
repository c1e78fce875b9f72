"""query_relevance: every token's score for the last query of a prompt."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.drop_inputs import HEAD_DIM, HEADS, KEY_HEADS, pruned_layout
from benchmarks.entry import OURS, Entry, Size, randn
from seats_ops import functional as F


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    layout = pruned_layout(size, device)
    tokens = len(layout)
    query, key = (
        randn(size.batch, HEADS, HEAD_DIM, device=device, seed=size.seed),
        randn(tokens, KEY_HEADS, HEAD_DIM, device=device, seed=size.seed),
    )

    def composed() -> object:
        keys = key.repeat_interleave(HEADS // KEY_HEADS, 1).float()
        return (torch.einsum("bhd,thd->bht", query.float(), keys) * HEAD_DIM**-0.5).softmax(-1).mean((0, 1))

    yield Entry(
        "query_relevance/drop",
        {
            OURS: lambda: F.query_relevance(query, key, layout.cu_seqlens, max_seqlen=tokens // size.batch),
            "repeat, product, softmax, mean": composed,
        },
        flops=2 * HEADS * HEAD_DIM * tokens,
        num_bytes=key.numel() * key.element_size() + 4 * tokens,
        tests=("tests/ops/test_query_relevance.py",),
    )
