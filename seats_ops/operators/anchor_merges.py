"""Merges that follow from which anchor is nearest to a token: means, halves, weighted sums."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.operators.selection import Merge


def mean_merge(member: Tensor, anchor: Tensor, anchors: Tensor, own: Tensor | float, others: Tensor | float) -> Merge:
    """anchor' = own * anchor + others * mean of its members; an anchor without members stays as it is.

    Args:
        member, anchor: int64 [M], see `seats_ops.operators.anchors.nearest_anchor`.
        anchors: bool [T].
        own, others: a number, or one for each of the T tokens, looked up at the anchor.

    Example:
        >>> import torch
        >>> from seats_ops.operators.anchor_merges import mean_merge
        >>> anchors = torch.tensor([True, False, False])
        >>> merge = mean_merge(torch.tensor([1, 2]), torch.tensor([0, 0]), anchors, own=1.0, others=1.0)
        >>> merge.coefficient
        tensor([1.0000, 0.5000, 0.5000])
    """
    total, device = len(anchors), anchors.device
    count = torch.zeros(total, dtype=torch.float32, device=device).index_add(0, anchor, torch.ones_like(anchor).float())
    own = torch.as_tensor(own, dtype=torch.float32, device=device).expand(total)
    others = torch.as_tensor(others, dtype=torch.float32, device=device).expand(total)
    merged = (anchors & (count > 0)).nonzero().squeeze(1)
    target, source = torch.cat([merged, anchor]), torch.cat([merged, member])
    return Merge(target, source, torch.cat([own[merged], others[anchor] / count[anchor]]))


def halving_merge(member: Tensor, anchor: Tensor, total: int) -> Merge:
    """Members go into their anchor one after another, in order: each time anchor = (anchor + member) / 2.

    Args:
        member, anchor: int64 [M], see `seats_ops.operators.anchors.nearest_anchor`.
        total: number of tokens T.

    Example:
        >>> import torch
        >>> from seats_ops.operators.anchor_merges import halving_merge
        >>> halving_merge(torch.tensor([1, 2]), torch.tensor([0, 0]), 3).coefficient
        tensor([0.2500, 0.2500, 0.5000])
    """
    count = torch.bincount(anchor, minlength=total)
    order = anchor.argsort(stable=True)
    member, anchor = member[order], anchor[order]
    place = torch.arange(len(anchor), dtype=torch.int64, device=anchor.device) - torch.searchsorted(anchor, anchor)
    own = (count > 0).nonzero().squeeze(1)
    halvings = torch.cat([count[own], count[anchor] - place])
    return Merge(torch.cat([own, anchor]), torch.cat([own, member]), 0.5 ** halvings.float())


def softmax_merge(member: Tensor, anchor: Tensor, scores: Tensor, share: float) -> Merge:
    """anchor' = (1 - share) * anchor + share * mean of its members, weighted by a softmax of their scores.

    Args:
        member, anchor: int64 [M].
        scores: float [M], between -1 and 1.

    Example:
        >>> import torch
        >>> from seats_ops.operators.anchor_merges import softmax_merge
        >>> softmax_merge(torch.tensor([1, 2]), torch.tensor([0, 0]), torch.zeros(2), 0.5).coefficient
        tensor([0.5000, 0.2500, 0.2500])
    """
    merged, at = anchor.unique(return_inverse=True)
    weight = scores.float().exp()
    weight = weight / sum_at(at, weight, len(merged))[at]
    coefficient = torch.cat([torch.full_like(merged, 1.0 - share, dtype=torch.float32), share * weight])
    return Merge(torch.cat([merged, anchor]), torch.cat([merged, member]), coefficient)


def weighted_merge(member: Tensor, anchor: Tensor, weight: Tensor, own: Tensor) -> Merge:
    """anchor' = own * anchor + (1 - own) * (anchor + sum of weight * member) / (1 + sum of weights).

    Args:
        member, anchor: int64 [M].
        weight: float32 [M].
        own: float32 [T], share that an anchor keeps of itself beforehand.

    Example:
        >>> import torch
        >>> from seats_ops.operators.anchor_merges import weighted_merge
        >>> weighted_merge(torch.tensor([1]), torch.tensor([0]), torch.ones(1), torch.zeros(2)).coefficient
        tensor([0.5000, 0.5000])
    """
    merged, at = anchor.unique(return_inverse=True)
    share = (1.0 - own[merged]) / (1.0 + sum_at(at, weight, len(merged)))
    coefficient = torch.cat([own[merged] + share, share[at] * weight])
    return Merge(torch.cat([merged, anchor]), torch.cat([merged, member]), coefficient)


def sum_at(target: Tensor, values: Tensor, total: int) -> Tensor:
    """float32 [total]: sums of [M] values by the token they belong to, each in the order in which they stand.

    Example:
        >>> import torch
        >>> from seats_ops.operators.anchor_merges import sum_at
        >>> sum_at(torch.tensor([2, 0, 2]), torch.tensor([1.0, 2.0, 4.0]), 3).tolist()
        [2.0, 0.0, 5.0]
    """
    lengths = torch.zeros(total, dtype=torch.int64, device=target.device).scatter_add_(
        0, target, torch.ones_like(target)
    )
    ordered = values.float()[target.argsort(stable=True)]
    return torch.segment_reduce(ordered, "sum", lengths=lengths, unsafe=True, initial=0)
