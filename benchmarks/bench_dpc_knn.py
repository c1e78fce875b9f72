"""dpc_knn: the density peaks of every frame of a clip."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from benchmarks.entry import OURS, Entry, Size, randn
from seats_ops import functional as F
from seats_ops.testing import packed_offsets

NEIGHBORS = 4


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    lengths = [size.side**2 // 4] * (size.batch * size.grids)
    features = randn(sum(lengths), size.hidden_size, device=device, seed=size.seed)
    offsets = packed_offsets(lengths).to(device)
    yield Entry(
        "dpc_knn/frames",
        {
            OURS: functools.partial(
                F.dpc_knn, features, offsets, num_neighbors=NEIGHBORS, metric="euclidean", max_seqlen=lengths[0]
            ),
            "loop over frames": functools.partial(peaks_of_frames, features, lengths),
        },
        flops=2 * size.hidden_size * sum(n * n for n in lengths),
        num_bytes=features.numel() * features.element_size() + 4 * sum(lengths),
        tests=("tests/ops/test_dpc_knn.py",),
    )


def peaks_of_frames(features: Tensor, lengths: Sequence[int]) -> Tensor:
    """As research code does it: a matrix of distances per frame, and noise against ties."""
    scores = []
    for x in features.float().split(list(lengths)):
        distance = torch.cdist(x, x) / x.shape[1] ** 0.5
        nearest = distance.topk(min(NEIGHBORS, len(x)), dim=-1, largest=False).values
        density = (-nearest.square().mean(-1)).exp()
        density = density + torch.rand_like(density) * 1e-6
        apart = torch.where(density[None, :] > density[:, None], distance, distance.max()).amin(-1)
        scores.append(density * apart)
    return torch.cat(scores)
