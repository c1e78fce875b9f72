"""greedy_dpp: a subset of every block of a clip that is good and covers what the block shows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.entry import OURS, Entry, Size, randn
from seats_ops import functional as F
from seats_ops.operators.stage import num_kept
from seats_ops.testing import near_constant_saliency, packed_offsets


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    length, count = size.side**2 // 2, size.batch * size.grids // 2
    lengths, keep = [length] * count, num_kept(length, size.kept[0])
    features = randn(sum(lengths), size.hidden_size, device=device, seed=size.seed)
    quality = near_constant_saliency(sum(lengths), seed=0, spread=0.5).to(device)
    offsets, wanted = packed_offsets(lengths).to(device), torch.tensor([keep] * count).to(device)
    yield Entry(
        "greedy_dpp/video",
        {
            OURS: lambda: F.greedy_dpp(features, offsets, wanted, quality=quality, max_seqlen=length, max_keep=keep),
            "loop over segments": lambda: dpp_in_segments(features, quality, lengths, keep),
        },
        flops=sum(lengths) * keep * (2 * size.hidden_size + keep - 1),
        num_bytes=features.numel() * features.element_size() + 5 * sum(lengths),
        tests=("tests/ops/test_greedy_dpp.py",),
    )


def dpp_in_segments(features: Tensor, quality: Tensor, lengths: list[int], num_keep: int) -> Tensor:
    """[T, D], [T] -> kept tokens, as research code writes it: the whole kernel of a segment, then greedy picks."""
    kept, start = [], 0
    for x, q in zip(features.split(lengths), quality.split(lengths), strict=True):
        x = q[:, None] * torch.nn.functional.normalize(x, dim=-1)
        kernel = x @ x.T
        left = kernel.diagonal().clone()
        factors = torch.zeros(num_keep, len(x), dtype=x.dtype, device=x.device)
        picks = []
        for step in range(num_keep):
            pick = left.argmax()
            factors[step] = (kernel[pick] - factors[:step, pick] @ factors[:step]) / left[pick].sqrt()
            left = left - factors[step] ** 2
            left[pick] = -torch.inf
            picks.append(pick)
        kept.append(torch.stack(picks).sort().values + start)
        start += len(x)
    return torch.cat(kept)
