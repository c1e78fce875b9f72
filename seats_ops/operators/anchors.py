"""Which anchor is nearest to a token, group by group, and the merges that follow from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seats_ops.layout import Groups
from seats_ops.operators.selection import Merge

METRICS = ("cosine", "euclidean")


def nearest_anchor(
    features: Tensor, ids: Tensor, anchors: Tensor, members: Tensor, *, metric: str = "cosine", eps: float = 1e-8
) -> tuple[Tensor, Tensor]:
    """For every member the nearest anchor of its group; ties go to the anchor of the lowest index.

    Args:
        features: [T, D] that are compared, in float32.
        ids: int64 [T], the group of a token; below 0 for none.
        anchors, members: bool [T]. A token that is both has itself among its anchors.
        metric: "cosine" of rows divided by their norm plus `eps`, or "euclidean".

    Returns:
        (member, anchor): int64 [M] each, on the device of the features, members of groups without an anchor left out.

    Example:
        >>> import torch
        >>> from seats_ops.operators.anchors import nearest_anchor
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
        >>> anchors = torch.tensor([True, True, False])
        >>> nearest_anchor(features, torch.zeros(3, dtype=torch.int64), anchors, ~anchors)
        (tensor([2]), tensor([0]))
    """
    if metric not in METRICS:
        raise ValueError(f"metric: expected one of {METRICS}, got {metric!r}")
    ids = ids.to(features.device)
    x = features.float()
    if metric == "cosine":
        x = x / (x.norm(dim=-1, keepdim=True) + eps)
    anchors, members = anchors & (ids >= 0), members & (ids >= 0)
    empty = ids.new_zeros(0)
    if not len(ids):
        return empty, empty
    # Groups of like size are compared at once, so that one large group does not make all others as large.
    size = torch.bincount(ids[members], minlength=int(ids.max()) + 2).clamp(min=1)
    level = size.float().log2().ceil()
    level = torch.where(ids >= 0, level[ids], -1)
    pairs = [
        _nearest(x, ids, anchors & mine, members & mine, metric)
        for mine in (level == step for step in level[members].unique().tolist())
    ]
    found, nearest = (torch.cat([empty, *parts]) for parts in zip(*pairs, strict=True)) if pairs else (empty, empty)
    order = found.argsort()
    return found[order], nearest[order]


def _nearest(x: Tensor, ids: Tensor, anchors: Tensor, members: Tensor, metric: str) -> tuple[Tensor, Tensor]:
    anchor, anchor_at = places_in_groups(ids, anchors)
    member, member_at = places_in_groups(ids, members)
    if not len(anchor) or not len(member):
        empty = member.new_zeros(0)
        return empty, empty
    _, group = torch.cat([ids[anchor], ids[member]]).unique(return_inverse=True)
    of_anchor, of_member = group.split([len(anchor), len(member)])
    groups = int(group.max()) + 1
    table = torch.full((groups, int(anchor_at.max()) + 1), -1, dtype=torch.int64, device=ids.device)
    table[of_anchor, anchor_at] = anchor
    rows = torch.full((groups, int(member_at.max()) + 1), -1, dtype=torch.int64, device=ids.device)
    rows[of_member, member_at] = member
    a, m = x[table.clamp(min=0)], x[rows.clamp(min=0)]
    if metric == "cosine":
        # How float32 rounds a product depends on the shapes multiplied: equal anchors would not tie, and what a prompt
        # gets would depend on its neighbours. Rounded from float64, products of equal rows are equal.
        near = torch.matmul(m.double(), a.double().transpose(1, 2)).float()
    else:
        near = -torch.cdist(m, a, compute_mode=EXACT)
    near = near.masked_fill((table < 0)[:, None, :], -torch.inf)
    best = table.gather(1, near.argmax(-1))
    there = (rows >= 0) & (table >= 0).any(1, keepdim=True)
    return rows[there], best[there]


EXACT = "donot_use_mm_for_euclid_dist"
"""Equal rows have a distance of 0, so that ties are ties."""


def places_in_groups(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """int64 [K] tokens of a mask, and the how-manieth of its group each of them is."""
    index = mask.nonzero().squeeze(1)
    order = ids[index].argsort(stable=True)
    group = ids[index][order]
    starts = torch.searchsorted(group, group)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), dtype=torch.int64, device=ids.device) - starts
    return index, place


def nearest_in_parts(features: Tensor, members: Tensor, anchors: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """For every member the anchor of the largest cosine in each part of the anchors; ties go to the first.

    Args:
        features: [T, D].
        members: int64 [M], tokens.
        anchors: int64 [A], tokens, part by part.
        sizes: anchors of every part, from 1; they add up to A.

    Returns:
        (member, anchor): int64 [len(sizes) * M] each.

    Example:
        >>> import torch
        >>> from seats_ops.operators.anchors import nearest_in_parts
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
        >>> nearest_in_parts(features, torch.tensor([2]), torch.tensor([0, 1, 1]), [2, 1])
        (tensor([2, 2]), tensor([0, 1]))
    """
    x, a = (torch.nn.functional.normalize(features[i].float(), dim=-1).double() for i in (members, anchors))
    # Rounded from float64 as in `nearest_anchor`.
    near = (x @ a.T).float().split(list(sizes), 1)
    starts = torch.tensor([0, *sizes], dtype=torch.int64, device="cpu").cumsum(0).tolist()
    chosen = [anchors[part.argmax(1) + start] for part, start in zip(near, starts[:-1], strict=True) if part.numel()]
    return members.repeat(len(chosen)), torch.cat([anchors.new_zeros(0), *chosen])


def mean_merge(member: Tensor, anchor: Tensor, anchors: Tensor, own: Tensor | float, others: Tensor | float) -> Merge:
    """anchor' = own * anchor + others * mean of its members; an anchor without members stays as it is.

    Args:
        member, anchor: int64 [M], see `nearest_anchor`.
        anchors: bool [T].
        own, others: a number, or one for each of the T tokens, looked up at the anchor.

    Example:
        >>> import torch
        >>> from seats_ops.operators.anchors import mean_merge
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
        member, anchor: int64 [M], see `nearest_anchor`.
        total: number of tokens T.

    Example:
        >>> import torch
        >>> from seats_ops.operators.anchors import halving_merge
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


def strided_anchors(groups: Groups, rest: Tensor, num_rest: Tensor, num_anchors: Tensor) -> Tensor:
    """Of a group's tokens in `rest`, in order: those at 0, s, 2 s, ... with s = max(1, |rest| // anchors).

    Args:
        groups: see `seats_ops.layout.group_tokens`.
        rest: bool [T] on the device; tokens outside all groups do not count.
        num_rest: int64 [G] on the host: how many tokens of `rest` every group has.
        num_anchors: int64 [G] on the host: how many to take, if there are as many.

    Returns:
        bool [T] on the device of `rest`.

    Example:
        >>> import torch
        >>> from seats_ops import TokenLayout
        >>> from seats_ops.layout import group_tokens
        >>> from seats_ops.operators.anchors import strided_anchors
        >>> layout = TokenLayout(torch.tensor([1, 1, 1, 1, 1, 0]), torch.arange(6), torch.tensor([0, 6]))
        >>> rest = torch.tensor([True, False, True, True, True, False])
        >>> strided_anchors(group_tokens(layout, "modality"), rest, torch.tensor([4]), torch.tensor([2])).tolist()
        [True, False, False, True, False, False]
    """
    index, _ = groups.packed()
    step = (num_rest // num_anchors.clamp(min=1)).clamp(min=1).repeat_interleave(groups.lengths)
    limit = num_anchors.repeat_interleave(groups.lengths) * step
    before = torch.nn.functional.pad(num_rest.cumsum(0), (1, 0))[:-1].repeat_interleave(groups.lengths)
    index, step, limit, before = (part.to(rest.device, non_blocking=True) for part in (index, step, limit, before))
    inside = rest[index]
    place = inside.cumsum(0) - 1 - before
    return torch.zeros_like(rest).index_put_((index,), inside & (place % step == 0) & (place < limit))
