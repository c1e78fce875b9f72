"""max_min_diversity: a diverse subset of every block of a clip."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.entry import OURS, Entry, Size, randn
from benchmarks.per_window_loop import select_in_windows
from seats_ops import functional as F
from seats_ops.stages import num_kept
from seats_ops.testing import near_constant_saliency, packed_offsets


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    blocks = {
        "video": (size.side**2 // 2, size.grids // 2, size.kept[0]),
        "audio": (50, size.audio_tokens // 50, size.kept[1]),
    }
    for name, (length, count, ratio) in blocks.items():
        lengths, keep = [length] * count, num_kept(length, ratio)
        features = randn(sum(lengths), size.hidden_size, device=device)
        weights = near_constant_saliency(sum(lengths), seed=0).to(device)
        offsets, wanted = packed_offsets(lengths).to(device), torch.tensor([keep] * count).to(device)

        def ours(features=features, weights=weights, offsets=offsets, wanted=wanted, longest=length) -> object:
            return F.max_min_diversity(features, offsets, wanted, weights=weights, max_seqlen=longest)

        def loop(features=features, weights=weights, lengths=lengths, keep=keep) -> object:
            return select_in_windows(features, weights, lengths, keep)

        yield Entry(
            f"max_min_diversity/{name}",
            {OURS: ours, "loop over windows": loop},
            flops=2 * size.hidden_size * sum(n * n for n in lengths),
            num_bytes=features.numel() * features.element_size() + 5 * sum(lengths),
            tests=("tests/ops/test_max_min_diversity.py",),
        )
