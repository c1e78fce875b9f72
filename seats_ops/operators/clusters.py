"""Clusters of some tokens of every group around density peaks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seats_ops.operators.best_anchor import best_anchor
from seats_ops.operators.peaks import density_peaks
from seats_ops.ops.segment_topk.api import segment_topk


def peak_clusters(
    features: Tensor, groups: Sequence[Tensor], counts: Sequence[int], neighbors: int, *, backend: str = "auto"
) -> Tensor:
    """The centre of every token's cluster: of each group as many peaks as `counts` says, euclidean distances.

    Densities are of min(count, neighbors) neighbours, a token itself among them, as FlashVID (arXiv 2602.08024) has it;
    ties go to the first.

    Args:
        features: [T, D].
        groups: int64 tokens of each group, on the host.

    Returns:
        int64 [T]; tokens of no group, or of one with a count of 0, are their own.

    Example:
        >>> import torch
        >>> from seats_ops.operators.clusters import peak_clusters
        >>> features = torch.tensor([[0.0], [0.1], [9.0], [9.1], [9.2]])
        >>> peak_clusters(features, [torch.arange(5)], [2], 7).tolist()
        [0, 0, 3, 3, 3]
    """
    device = features.device
    scores = torch.zeros(len(features), dtype=torch.float32, device=device)
    ids = torch.full((len(features),), -1, dtype=torch.int64, device="cpu")
    for group, tokens in enumerate(groups):
        if counts[group]:
            ids[tokens] = group
    for k in sorted({min(count, neighbors) for count in counts if count}):
        mine = [tokens for tokens, count in zip(groups, counts, strict=True) if min(count, neighbors) == k]
        index, peaks = density_peaks(features, mine, num_neighbors=k, backend=backend)
        scores = scores.index_copy_(0, index, peaks)
    ids = ids.to(device, non_blocking=True)
    budgets = torch.tensor(list(counts), dtype=torch.int64, device="cpu").to(device, non_blocking=True)
    centres = segment_topk(scores, ids, budgets, backend=backend) & (ids >= 0)
    member, centre, _ = best_anchor(features, ids, centres, (ids >= 0) & ~centres, metric="euclidean")
    return torch.arange(len(features), dtype=torch.int64, device=device).index_copy_(0, member, centre)


def cluster_counts(roots: Sequence[int], frames: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Clusters of every frame, in proportion to what is left of it and rounded up; 0 where a segment has few enough.

    Args:
        roots: of every frame.
        frames: of every segment.
        wanted: clusters of every segment.

    Example:
        >>> from seats_ops.operators.clusters import cluster_counts
        >>> cluster_counts([4, 2, 1], frames=[2, 1], wanted=[3, 1])
        [2, 1, 0]
    """
    counts, first = [], 0
    for n, most in zip(frames, wanted, strict=True):
        mine = roots[first : first + n]
        total, first = sum(mine), first + n
        counts += [-(-m * most // total) if total > most else 0 for m in mine]
    return counts
