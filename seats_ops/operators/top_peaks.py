"""Density peaks of every group of tokens, as several methods pick the tokens that others are merged into."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.ops.dpc_knn.api import dpc_knn
from seats_ops.ops.segment_topk.api import segment_topk


def top_density_peaks(
    features: Tensor,
    ids: Tensor,
    index: Tensor,
    sizes: Tensor,
    counts: Tensor,
    neighbors: Tensor,
    *,
    backend: str = "auto",
) -> Tensor:
    """bool [T]: of the tokens in `index`, those of every group with the highest scores of `dpc_knn` (euclidean).

    Args:
        features: [T, D].
        ids: int64 [T] on the device, the group of a token.
        index: int64 [N] on the device, the tokens looked at, group by group, ascending in each.
        sizes: int64 [G] on the host, how many of them every group has; they add up to N.
        counts: int64 [G] on the host, how many to pick of every group, if there are as many.
        neighbors: int64 [G] on the host, of a token's density, itself included; from 1 where `counts` is.

    Example:
        >>> import torch
        >>> from seats_ops.operators.top_peaks import top_density_peaks
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [7.0], [8.0], [9.0]])
        >>> three, two, six = (torch.tensor([n]) for n in (3, 2, 6))
        >>> top_density_peaks(x, torch.zeros(6, dtype=torch.int64), torch.arange(6), six, two, three).tolist()
        [False, True, False, False, True, False]
    """
    device = features.device
    scores = torch.zeros(len(ids), dtype=torch.float32, device=device)
    of_index = ids[index]
    for k in sorted(set(neighbors[(counts > 0) & (sizes > 0)].tolist())):
        mine = (neighbors == k) & (counts > 0)
        looked_at = index[mine.to(device, non_blocking=True)[of_index]]
        offsets = torch.nn.functional.pad(sizes[mine].cumsum(0), (1, 0)).to(device, non_blocking=True)
        longest = int(sizes[mine].max())
        scores[looked_at] = dpc_knn(
            features, offsets, num_neighbors=k, index=looked_at, max_seqlen=longest, backend=backend
        )
    left = torch.full_like(ids, -1).index_copy_(0, index, of_index)
    return segment_topk(scores, left, counts.to(device, non_blocking=True), backend=backend) & (left >= 0)
