"""Tokens that become one, their mean, before anything else is done with them."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.operators.selection import Merge
from seats_ops.ops.merge_rows.api import merge_rows


def means(features: Tensor, first: Tensor, *, backend: str = "auto") -> Tensor:
    """float32 [T, D]: rows that share a first one are averaged there; other rows are as they were.

    Args:
        features: [T, D].
        first: int64 [T], for every token the first of those that it becomes one with; itself where it stays alone.

    Example:
        >>> import torch
        >>> from seats_ops.operators.means import means
        >>> means(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 2])).tolist()
        [[1.0], [2.0], [5.0]]
    """
    times = torch.bincount(first, minlength=len(first))
    many = (times[first] > 1).nonzero().squeeze(1)
    return merge_rows(features.float(), first[many], many, 1.0 / times[first[many]], backend=backend)


def through_means(merge: Merge, centres: Tensor, first: Tensor) -> Merge:
    """A map of rows after `means` as a map of the rows before.

    Args:
        merge: its sources are first ones.
        centres: bool [T], rows that are kept: those that are means, and no target of the merge, become targets too.
        first: see `means`.

    Example:
        >>> import torch
        >>> from seats_ops.operators.means import through_means
        >>> from seats_ops.operators.selection import Merge
        >>> halves = Merge(torch.tensor([2, 2]), torch.tensor([2, 0]), torch.tensor([0.5, 0.5]))
        >>> through_means(halves, torch.tensor([False, False, True]), torch.tensor([0, 0, 2]))[1:]
        (tensor([2, 0, 1]), tensor([0.5000, 0.2500, 0.2500]))
    """
    times = torch.bincount(first, minlength=len(first))
    alone = centres & (times > 1)
    alone[merge.target] = False
    rows = alone.nonzero().squeeze(1)
    target, source = torch.cat([merge.target, rows]), torch.cat([merge.source, rows])
    coefficient = torch.cat([merge.coefficient, torch.ones_like(rows, dtype=torch.float32)])
    order, start, n = first.argsort(stable=True), times.cumsum(0) - times, times[source]
    place = torch.arange(int(n.sum()), dtype=torch.int64, device=n.device) - (n.cumsum(0) - n).repeat_interleave(n)
    source = order[start[source].repeat_interleave(n) + place]
    return Merge(target.repeat_interleave(n), source, (coefficient / n).repeat_interleave(n))
