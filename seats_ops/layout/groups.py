"""The tokens that a selection treats together: those of a prompt, a modality, an item, a frame, a block, a window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seats_ops.layout.modality import Modality
from seats_ops.layout.token_layout import TokenLayout, check_layout
from seats_ops.validation import describe

KINDS = ("row", "modality", "item", "frame", "block", "window")
MEDIA = (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE)


@dataclass(frozen=True, eq=False)
class Groups:
    """G groups of the tokens of a layout, on the host. Groups ascend over prompts.

    Attributes:
        ids: int64 [T], the group of a token; -1 for none: text, and modalities that were not asked for.
        lengths: int64 [G], tokens of every group.
        row: int64 [G], the prompt a group belongs to.
        modality: int64 [G], `Modality` of its tokens; of a group of several modalities, the lowest.

    Example:
        >>> import torch
        >>> from seats_ops import Modality, TokenLayout
        >>> from seats_ops.layout import group_tokens
        >>> layout = TokenLayout(torch.tensor([0, 1, 1, 2, 0]), torch.arange(5), torch.tensor([0, 5]))
        >>> groups = group_tokens(layout, "modality")
        >>> groups.ids.tolist(), groups.lengths.tolist()
        ([-1, 0, 0, 1, -1], [2, 1])
    """

    ids: Tensor
    lengths: Tensor
    row: Tensor
    modality: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    def packed(self) -> tuple[Tensor, Tensor]:
        """int64 [T'] tokens group by group, in order within each, and int32 [G+1] where the groups start and end.

        Example:
            >>> index, cu_seqlens = groups.packed()
            >>> index.tolist(), cu_seqlens.tolist()
            ([1, 2, 3], [0, 2, 3])
        """
        inside = (self.ids >= 0).nonzero().squeeze(1)
        order = inside[self.ids[inside].argsort(stable=True)]
        return order, torch.nn.functional.pad(self.lengths.cumsum(0), (1, 0)).int()

    def only(self, mask: Tensor) -> Groups:
        """The same groups of those tokens alone that are in a mask, bool [T] on the host; some may be empty.

        Example:
            >>> groups.only(torch.tensor([False, False, True, True, False])).lengths.tolist()
            [1, 1]
        """
        ids = torch.where(mask, self.ids, -1)
        return replace(self, ids=ids, lengths=torch.bincount(ids[ids >= 0], minlength=len(self)))


def group_tokens(layout: TokenLayout, by: str, modalities: Iterable[Modality] = MEDIA) -> Groups:
    """The groups of a layout's media tokens.

    Args:
        layout: a host copy is used where it has one; else it is read from the device.
        by: "row": all media of a prompt; "modality": those of one modality of a prompt; "item": one video, sound or
            picture; "frame": one temporal grid of a video, a token of sound, a picture; "block", "window": as the
            layout has them, modality by modality.
        modalities: only tokens of these.

    Raises:
        ValueError: another kind of group, or a layout without what it takes.

    Example:
        >>> group_tokens(layout, "row", [Modality.VIDEO]).ids.tolist()
        [-1, 0, 0, -1, -1]
    """
    if by not in KINDS:
        raise ValueError(f"by: expected one of {KINDS}, got {by!r}")
    plan = _on_host(layout)
    kinds = list(modalities)
    if not all(isinstance(kind, Modality) for kind in kinds):
        raise TypeError(f"modalities: expected values of Modality, got {describe(modalities)}")
    inside = plan.is_modality(*kinds)
    if by == "block" and plan.block is not None:
        inside = inside & (plan.block >= 0)
    if by == "window" and plan.window is not None:
        inside = inside & (plan.window >= 0)
    keys = torch.stack([plan.rows(), *_keys(plan, by)], 1)[inside]
    found, member, lengths = keys.unique(dim=0, return_inverse=True, return_counts=True)
    ids = torch.full((len(plan),), -1, dtype=torch.int64, device="cpu").masked_scatter(inside, member)
    kind = torch.full((len(found),), len(Modality), dtype=torch.int64, device="cpu")
    kind = kind.scatter_reduce(0, member, plan.modality[inside].long(), "amin")
    return Groups(ids, lengths, found[:, 0], kind)


def groups_of(layout: TokenLayout, tokens: Sequence[Tensor]) -> Groups:
    """Groups of tokens that somebody else chose.

    Args:
        layout: a host copy is used where it has one.
        tokens: int64 tokens of every group, one at least, on the host; of one prompt each, prompts ascending.

    Example:
        >>> import torch
        >>> from seats_ops.layout.groups import groups_of
        >>> groups_of(layout, [torch.tensor([1, 2])]).ids.tolist()
        [-1, 0, 0, -1, -1]
    """
    plan = _on_host(layout)
    lengths = torch.tensor([len(mine) for mine in tokens], dtype=torch.int64, device="cpu")
    at = torch.cat([lengths[:0], *tokens])
    group = torch.arange(len(lengths), dtype=torch.int64, device="cpu").repeat_interleave(lengths)
    ids = torch.full((len(plan),), -1, dtype=torch.int64, device="cpu").index_copy_(0, at, group)
    first = at[lengths.cumsum(0) - lengths]
    return Groups(ids, lengths, plan.rows()[first], plan.modality[first].long())


def _on_host(layout: TokenLayout) -> TokenLayout:
    plan = check_layout(layout).plan()
    return plan if plan.modality.device.type == "cpu" else plan.to(torch.device("cpu"))


def _keys(plan: TokenLayout, by: str) -> list[Tensor]:
    """What tells the groups of a prompt apart, coarse to fine."""
    if by == "row":
        return []
    if by == "modality":
        return [plan.modality.long()]
    if by in ("item", "frame"):
        if plan.grid is None:
            raise ValueError(f"layout: expected one with grid for groups by {by}, got None")
        return [plan.grid[:, 0].long(), *([plan.grid[:, 1].long()] if by == "frame" else [])]
    ids = plan.block if by == "block" else plan.window
    return [plan.modality.long()] if ids is None else [ids.long(), plan.modality.long()]
