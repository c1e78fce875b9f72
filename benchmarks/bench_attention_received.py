"""attention_received: saliency of a clip's patches and of its sound, in the paper's windows."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch

from benchmarks.entry import OURS, Entry, Size, randn
from benchmarks.per_window_loop import saliency_of_windows
from seats_ops import functional as F
from seats_ops.testing import packed_offsets


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    towers = {
        "video": ([2 * size.side**2] * (size.batch * size.grids // 2), 16, 80),
        "audio": ([100] * (size.batch * size.audio_tokens // 50), 20, 64),
    }
    for name, (lengths, heads, head_dim) in towers.items():
        query, key = (randn(sum(lengths), heads, head_dim, device=device, seed=2 * size.seed + i) for i in range(2))
        offsets = packed_offsets(lengths).to(device)

        pairs = sum(n * n for n in lengths)
        yield Entry(
            f"attention_received/{name}",
            {
                OURS: functools.partial(F.attention_received, query, key, offsets, max_seqlen=lengths[0]),
                "loop over windows": functools.partial(saliency_of_windows, query, key, lengths),
            },
            # The logits once: that a kernel may compute them twice is its own affair.
            flops=2 * heads * head_dim * pairs,
            num_bytes=(query.numel() + key.numel()) * query.element_size() + 4 * sum(lengths),
            tests=("tests/ops/test_attention_received.py",),
        )
