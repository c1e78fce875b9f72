"""The best anchor of every token with how good it is, for rules that look at more than features; sums by anchor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seats_ops.operators.anchors import EXACT, METRICS, places_in_groups
from seats_ops.operators.selection import Merge

CELLS = 2**24
"""Pairs of a member and an anchor that are held at once."""
Adjust = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Takes nearness [G, m, A], members [G, m] and anchors [G, A] as tokens, and which anchors there are, bool [G, A]."""


def best_anchor(
    features: Tensor,
    ids: Tensor,
    anchors: Tensor,
    members: Tensor,
    *,
    anchor_ids: Tensor | None = None,
    metric: str = "cosine",
    eps: float = 1e-8,
    adjust: Adjust | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`nearest_anchor`, and how near it is; members are taken in parts, so that not all pairs are held at once.

    Args:
        features, ids, anchors, members, metric, eps: see `nearest_anchor`.
        anchor_ids: int64 [T], the group an anchor serves, where that is not its own.
        adjust: changes nearness before the largest is taken.

    Returns:
        (member, anchor, nearness): int64 [M] twice and float32 [M], the cosine or the negative distance.
    """
    if metric not in METRICS:
        raise ValueError(f"metric: expected one of {METRICS}, got {metric!r}")
    ids = ids.to(features.device)
    serves = ids if anchor_ids is None else anchor_ids.to(features.device)
    x = features.float()
    if metric == "cosine":
        x = x / (x.norm(dim=-1, keepdim=True) + eps)
    anchor, anchor_at = places_in_groups(serves, anchors & (serves >= 0))
    member, member_at = places_in_groups(ids, members & (ids >= 0))
    if not len(anchor) or not len(member):
        return member.new_zeros(0), member.new_zeros(0), x.new_zeros(0)
    groups = int(torch.maximum(ids.max(), serves.max())) + 1
    table = torch.full((groups, int(anchor_at.max()) + 1), -1, dtype=torch.int64, device=ids.device)
    table[serves[anchor], anchor_at] = anchor
    rows = torch.full((groups, int(member_at.max()) + 1), -1, dtype=torch.int64, device=ids.device)
    rows[ids[member], member_at] = member
    # A cosine in float32 depends, in its last bits, on where in a matrix it stands: equal rows would not tie.
    there, a = table >= 0, x[table.clamp(min=0)].double()
    parts = []
    for part in rows.split(max(1, CELLS // table.numel()), dim=1):
        m = x[part.clamp(min=0)].double()
        if metric == "cosine":
            near = torch.matmul(m, a.transpose(1, 2)).float()
        else:
            near = -torch.cdist(m, a, compute_mode=EXACT).float()
        if adjust is not None:
            near = adjust(near, part, table, there)
        parts.append(near.masked_fill(~there[:, None, :], -torch.inf).max(-1))
    nearness, place = (torch.cat(found, 1) for found in zip(*parts, strict=True))
    mine = (rows >= 0) & there.any(1, keepdim=True)
    found, nearest = rows[mine], table.gather(1, place)[mine]
    order = found.argsort()
    return found[order], nearest[order], nearness[mine][order]


def near_in_place(places: Tensor, weight: Tensor, bonus: Tensor) -> Adjust:
    """Nearness less weight * distance of places, from 0 for the nearest anchor to 1 for the farthest, plus a bonus.

    Args:
        places: float32 [T, C].
        weight: float32 [T], of a member.
        bonus: float32 [T], of an anchor.
    """

    def adjust(near: Tensor, members: Tensor, anchors: Tensor, there: Tensor) -> Tensor:
        rows, columns, missing = members.clamp(min=0), anchors.clamp(min=0), ~there[:, None]
        away = torch.cdist(places[rows], places[columns], compute_mode=EXACT)
        least = away.masked_fill(missing, torch.inf).amin(-1, keepdim=True)
        most = away.masked_fill(missing, 0.0).amax(-1, keepdim=True)
        return near - weight[rows][..., None] * ((away - least) / (most - least + 1e-6)) + bonus[columns][:, None]

    return adjust


def sum_at(target: Tensor, values: Tensor, total: int) -> Tensor:
    """float32 [total]: sums of [M] values by the token they belong to, each in the order in which they stand.

    Example:
        >>> import torch
        >>> from seats_ops.operators.best_anchor import sum_at
        >>> sum_at(torch.tensor([2, 0, 2]), torch.tensor([1.0, 2.0, 4.0]), 3).tolist()
        [2.0, 0.0, 5.0]
    """
    lengths = torch.zeros(total, dtype=torch.int64, device=target.device).scatter_add_(
        0, target, torch.ones_like(target)
    )
    ordered = values.float()[target.argsort(stable=True)]
    return torch.segment_reduce(ordered, "sum", lengths=lengths, unsafe=True, initial=0)


def softmax_merge(member: Tensor, anchor: Tensor, scores: Tensor, share: float) -> Merge:
    """anchor' = (1 - share) * anchor + share * mean of its members, weighted by a softmax of their scores.

    Args:
        member, anchor: int64 [M].
        scores: float [M], between -1 and 1.

    Example:
        >>> import torch
        >>> from seats_ops.operators.best_anchor import softmax_merge
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
        >>> from seats_ops.operators.best_anchor import weighted_merge
        >>> weighted_merge(torch.tensor([1]), torch.tensor([0]), torch.ones(1), torch.zeros(2)).coefficient
        tensor([0.5000, 0.5000])
    """
    merged, at = anchor.unique(return_inverse=True)
    share = (1.0 - own[merged]) / (1.0 + sum_at(at, weight, len(merged)))
    coefficient = torch.cat([own[merged] + share, share[at] * weight])
    return Merge(torch.cat([merged, anchor]), torch.cat([merged, member]), coefficient)
