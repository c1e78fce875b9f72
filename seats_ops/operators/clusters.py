"""Clusters of some tokens of every group around density peaks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seats_ops.layout import Groups
from seats_ops.operators.anchors import nearest_anchor
from seats_ops.operators.peaks import top_density_peaks


def peak_clusters(
    features: Tensor, groups: Groups, counts: Sequence[int], neighbors: int, *, backend: str = "auto"
) -> Tensor:
    """The centre of every token's cluster: of each group as many peaks as `counts` says, euclidean distances.

    Densities are of min(count, neighbors) neighbours, a token itself among them, as FlashVID (arXiv 2602.08024) has it;
    ties go to the first.

    Args:
        features: [T, D].
        groups: of tokens.

    Returns:
        int64 [T]; tokens of no group, or of one with a count of 0, are their own.

    Example:
        >>> import torch
        >>> from seats_ops.layout import Groups
        >>> from seats_ops.operators.clusters import peak_clusters
        >>> features, row = torch.tensor([[0.0], [0.1], [9.0], [9.1], [9.2]]), torch.tensor([0])
        >>> groups = Groups(torch.zeros(5, dtype=torch.int64), torch.tensor([5]), row, row)
        >>> peak_clusters(features, groups, [2], 7).tolist()
        [0, 0, 3, 3, 3]
    """
    device = features.device
    wanted = torch.tensor(list(counts), dtype=torch.int64, device="cpu")
    ids, index = (x.to(device, non_blocking=True) for x in (groups.ids, groups.packed()[0]))
    densities = wanted.clamp(max=neighbors)
    centres = top_density_peaks(features, ids, index, groups.lengths, wanted, densities, backend=backend)
    member, centre, _ = nearest_anchor(features, ids, centres, (ids >= 0) & ~centres, metric="euclidean")
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
