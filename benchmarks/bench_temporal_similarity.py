"""temporal_similarity: every token of a clip and the one at its place a grid before."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.entry import OURS, Entry, Size, randn
from seats_ops import functional as F


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    tokens, places = size.batch * size.video_tokens, size.side**2 // 4
    features = randn(tokens, size.hidden_size, device=device, seed=size.seed)
    token = torch.arange(tokens, device=device)
    partner = torch.where(token % size.video_tokens >= places, token - places, -1)

    def composed() -> object:
        frames = features.unflatten(0, (size.batch, size.grids, places))
        cosine = torch.nn.functional.cosine_similarity(frames[:, 1:], frames[:, :-1], dim=-1)
        return torch.nn.functional.pad(cosine, (0, 0, 1, 0)).flatten()

    yield Entry(
        "temporal_similarity/clip",
        {OURS: lambda: F.temporal_similarity(features, partner), "cosine_similarity of shifted frames": composed},
        flops=6 * tokens * size.hidden_size,
        num_bytes=features.numel() * features.element_size() + 12 * tokens,
        tests=("tests/ops/test_temporal_similarity.py",),
    )
