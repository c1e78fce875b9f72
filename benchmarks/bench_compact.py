"""compact: hidden states, rotary embedding and the cache of some layers, thinned by one mask."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.drop_inputs import HEAD_DIM, KEY_HEADS, pruned_layout
from benchmarks.entry import OURS, Entry, Size, randn
from seats_ops import functional as F

LAYERS = 16


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    tokens = len(pruned_layout(size, device))
    keep = (torch.arange(tokens) % 3 > 0).to(device)
    tensors = [
        randn(tokens, size.hidden_size, device=device, seed=size.seed),
        *(randn(tokens, HEAD_DIM, device=device, seed=size.seed) for _ in range(2)),
        *(randn(tokens, KEY_HEADS, HEAD_DIM, device=device, seed=size.seed) for _ in range(2 * LAYERS)),
    ]
    kept = int(keep.sum())
    yield Entry(
        "compact/drop",
        {
            OURS: lambda: F.compact(keep, *tensors, num_kept=kept),
            "a mask per tensor": lambda: [tensor[keep] for tensor in tensors],
        },
        flops=0,
        num_bytes=2 * kept * sum(t[0].numel() * t.element_size() for t in tensors),
        tests=("tests/ops/test_compact.py",),
    )
