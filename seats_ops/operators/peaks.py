"""Density peaks of groups of tokens, such as those of every frame."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seats_ops.layout import Groups
from seats_ops.ops.dpc_knn.api import dpc_knn
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.ops.segments import counts_to_offsets

PER_TOKEN = ("density_scale", "offsets")


def density_peaks(features: Tensor, index: Tensor, sizes: Tensor, *, backend: str = "auto", **options: Any) -> Tensor:
    """float32 [N]: `dpc_knn` of groups of tokens that may be anywhere.

    Args:
        features: [T, D].
        index: int64 [N] on the device, tokens group by group.
        sizes: int64 [G] on the host, tokens of every group; they add up to N.
        options: of `dpc_knn`; `density_scale` and `offsets` are [T, ...] here.

    Example:
        >>> import torch
        >>> from seats_ops.operators.peaks import density_peaks
        >>> features = torch.tensor([[0.0], [5.0], [1.0], [5.0], [2.0]])
        >>> int(density_peaks(features, torch.tensor([0, 2, 4]), torch.tensor([3]), num_neighbors=3).argmax())
        1
    """
    return dpc_knn(
        features,
        counts_to_offsets(sizes).int().to(features.device, non_blocking=True),
        index=index,
        max_seqlen=int(sizes.max()) if len(sizes) else 0,
        backend=backend,
        **{name: value[index] if name in PER_TOKEN else value for name, value in options.items()},
    )


def top_density_peaks(
    features: Tensor,
    ids: Tensor,
    index: Tensor,
    sizes: Tensor,
    counts: Tensor,
    neighbors: Tensor,
    *,
    backend: str = "auto",
    **options: Any,
) -> Tensor:
    """bool [T]: of the tokens in `index`, those of every group with the highest scores of `density_peaks`.

    Args:
        features: [T, D].
        ids: int64 [T] on the device, the group of a token.
        index: int64 [N] on the device, the tokens looked at, group by group, ascending in each.
        sizes: int64 [G] on the host, how many of them every group has; they add up to N.
        counts: int64 [G] on the host, how many to pick of every group, if there are as many.
        neighbors: int64 [G] on the host, of a token's density; from 1 where `counts` is.
        options: see `density_peaks`.

    Example:
        >>> import torch
        >>> from seats_ops.operators.peaks import top_density_peaks
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
        scores[looked_at] = density_peaks(features, looked_at, sizes[mine], num_neighbors=k, backend=backend, **options)
    left = torch.full_like(ids, -1).index_copy_(0, index, of_index)
    return segment_topk(scores, left, counts.to(device, non_blocking=True), backend=backend) & (left >= 0)


def salient_and_peaks(
    features: Tensor,
    groups: Groups,
    salience: Tensor,
    salient: Tensor,
    peaks: Tensor,
    neighbors: Tensor,
    *,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Of every group the most salient tokens, and density peaks of the others.

    Args:
        features: [T, D].
        groups: of the tokens.
        salience: [T].
        salient, peaks: int64 [G] on the host, how many of each.
        neighbors: see `top_density_peaks`.

    Returns:
        (kept, centres): bool [T] each, the salient ones and tokens of no group, and the peaks.

    Example:
        >>> import torch
        >>> from seats_ops.layout import Groups
        >>> from seats_ops.operators.peaks import salient_and_peaks
        >>> x, row, one = torch.tensor([[9.0], [0.0], [1.0], [2.0]]), torch.tensor([0]), torch.tensor([1])
        >>> groups = Groups(torch.zeros(4, dtype=torch.int64), torch.tensor([4]), row, one)
        >>> kept, centres = salient_and_peaks(x, groups, torch.tensor([4.0, 3.0, 2.0, 1.0]), one, one, 3 * one)
        >>> kept.tolist(), centres.tolist()
        ([True, False, False, False], [False, False, True, False])
    """
    device = features.device
    ids = groups.ids.to(device, non_blocking=True)
    index = groups.packed()[0].to(device, non_blocking=True)
    kept = segment_topk(salience.float(), ids, salient.to(device, non_blocking=True), backend=backend)
    rest, sizes = index[~kept[index]], groups.lengths - salient
    return kept, top_density_peaks(features, ids, rest, sizes, peaks, neighbors, backend=backend)
