"""Which anchor is nearest to a token, group by group, and anchors that are evenly spread."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seats_ops.layout import Groups
from seats_ops.validation import check_choice

METRICS = ("cosine", "euclidean")
EXACT = "donot_use_mm_for_euclid_dist"
"""Equal rows have a distance of 0, so that ties are ties."""
CELLS = 2**24
"""Numbers that are held at once, of pairs of a member and an anchor and of members' features."""
Adjust = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Takes nearness [G, m, A], members [G, m] and anchors [G, A] as tokens, and which anchors there are, bool [G, A]."""


def nearest_anchor(
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
    """For every member the nearest anchor of its group; ties go to the anchor of the lowest index.

    Args:
        features: [T, D] that are compared, in float32.
        ids: int64 [T], the group of a token; below 0 for none.
        anchors, members: bool [T]. A token that is both has itself among its anchors.
        anchor_ids: int64 [T], the group an anchor serves, where that is not its own.
        metric: "cosine" of rows divided by their norm plus `eps`, or "euclidean".
        adjust: changes nearness before the largest is taken.

    Returns:
        (member, anchor, nearness): int64 [M] twice and float32 [M], the cosine or the negative distance, on the device
        of the features; members of groups without an anchor left out.

    Example:
        >>> import torch
        >>> from seats_ops.operators.anchors import nearest_anchor
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
        >>> anchors = torch.tensor([True, True, False])
        >>> nearest_anchor(features, torch.zeros(3, dtype=torch.int64), anchors, ~anchors)
        (tensor([2]), tensor([0]), tensor([0.8000]))
    """
    ids = ids.to(features.device)
    serves = ids if anchor_ids is None else anchor_ids.to(features.device)
    member = (members & (ids >= 0)).nonzero().squeeze(1)
    anchor = (anchors & (serves >= 0)).nonzero().squeeze(1)
    given = (member, ids[member]), (anchor, serves[anchor])
    return nearest_of(features, *given, metric=metric, eps=eps, adjust=adjust)


def nearest_of(
    features: Tensor,
    members: tuple[Tensor, Tensor],
    anchors: tuple[Tensor, Tensor],
    *,
    metric: str = "cosine",
    eps: float = 1e-8,
    adjust: Adjust | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`nearest_anchor` of members and anchors that may each be in several groups.

    Args:
        features: [T, D].
        members, anchors: int64 [N] tokens and int64 [N] their groups, from 0.
        metric, eps, adjust: see `nearest_anchor`.

    Returns:
        As `nearest_anchor`, in the order of the members.

    Example:
        >>> import torch
        >>> from seats_ops.operators.anchors import nearest_of
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
        >>> groups = torch.tensor([0, 1])
        >>> nearest_of(features, (torch.tensor([2, 2]), groups), (torch.tensor([0, 1]), groups))[1]
        tensor([0, 1])
    """
    x = features.float()
    if check_choice("metric", metric, METRICS) == "cosine":
        x = x / (x.norm(dim=-1, keepdim=True) + eps)
    (member, of_member), (anchor, of_anchor) = members, anchors
    parts = [(member.new_zeros(0), member.new_zeros(0), x.new_zeros(0))]
    if len(member) and len(anchor):
        # Groups of like size are compared at once, so that one large group does not make all others as large.
        num = int(torch.maximum(of_member.max(), of_anchor.max())) + 1
        level = torch.bincount(of_member, minlength=num).clamp(min=1).float().log2().ceil()
        for step in level[of_member].unique().tolist():
            mine, theirs = ((level[of] == step).nonzero().squeeze(1) for of in (of_member, of_anchor))
            if len(theirs):
                of = (of_member[mine], anchor[theirs], of_anchor[theirs])
                parts.append(_nearest(x, member, mine, *of, metric, adjust))
    at, nearest, nearness = (torch.cat(part) for part in zip(*parts, strict=True))
    order = at.argsort()
    return member[at[order]], nearest[order], nearness[order]


def _nearest(
    x: Tensor,
    member: Tensor,
    at: Tensor,
    of_member: Tensor,
    anchor: Tensor,
    of_anchor: Tensor,
    metric: str,
    adjust: Adjust | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Places in `member`, their anchors and how near those are, for the members that stand at `at`."""
    _, group = torch.cat([of_member, of_anchor]).unique(return_inverse=True)
    own, serves = group.split([len(of_member), len(of_anchor)])
    rows, table = (_table(values, of, int(group.max()) + 1) for values, of in ((at, own), (anchor, serves)))
    # A product in float32 depends, in its last bits, on where in a matrix it stands: anchors that are equal would not
    # tie, and what a prompt gets would depend on its neighbours. Rounded from float64, what is equal is equal.
    there, a = table >= 0, x[table.clamp(min=0)].double()
    parts = []
    for part in rows.split(max(1, CELLS // (len(rows) * max(table.shape[1], x.shape[1]))), dim=1):
        tokens = member[part.clamp(min=0)]
        m = x[tokens].double()
        if metric == "cosine":
            near = torch.matmul(m, a.transpose(1, 2)).float()
        else:
            near = -torch.cdist(m, a, compute_mode=EXACT).float()
        if adjust is not None:
            near = adjust(near, tokens, table, there)
        parts.append(near.masked_fill(~there[:, None], -torch.inf).max(-1))
    nearness, place = (torch.cat(found, 1) for found in zip(*parts, strict=True))
    mine = (rows >= 0) & there.any(1, keepdim=True)
    return rows[mine], table.gather(1, place)[mine], nearness[mine]


def _table(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """int64 [groups, most]: a row for the values of every group, in their order; -1 where there are no more."""
    order = group.argsort(stable=True)
    ordered = group[order]
    place = torch.arange(len(order), dtype=torch.int64, device=group.device) - torch.searchsorted(ordered, ordered)
    table = torch.full((groups, int(place.max()) + 1), -1, dtype=torch.int64, device=group.device)
    table[ordered, place] = values[order]
    return table


def near_in_place(places: Tensor, weight: Tensor, bonus: Tensor) -> Adjust:
    """Nearness less weight * distance of places, from 0 for the nearest anchor to 1 for the farthest, plus a bonus.

    Args:
        places: float32 [T, C].
        weight: float32 [T], of a member.
        bonus: float32 [T], of an anchor.
    """

    def adjust(near: Tensor, members: Tensor, anchors: Tensor, there: Tensor) -> Tensor:
        columns, missing = anchors.clamp(min=0), ~there[:, None]
        away = torch.cdist(places[members], places[columns], compute_mode=EXACT)
        least = away.masked_fill(missing, torch.inf).amin(-1, keepdim=True)
        most = away.masked_fill(missing, 0.0).amax(-1, keepdim=True)
        return near - weight[members][..., None] * ((away - least) / (most - least + 1e-6)) + bonus[columns][:, None]

    return adjust


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
