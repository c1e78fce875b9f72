"""Where a token lies in its media, from 0 to 1."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.layout.groups import Groups, group_tokens
from seats_ops.layout.modality import Modality
from seats_ops.layout.token_layout import TokenLayout, check_layout


def relative_places(layout: TokenLayout) -> Tensor:
    """(t, h, w) of every token over their extents: 0 for the first, 1 for the last one.

    t runs over all frames of a prompt that are there, one video after another, and over its tokens of sound; h and w
    over the rows and columns of a token's own video or picture.

    Returns:
        float32 [T, 3] on the host; 0 for text.

    Raises:
        ValueError: a layout without `grid`.

    Example:
        >>> import torch
        >>> from seats_ops.layout import MediaShape, Modality, TokenLayout
        >>> from seats_ops.layout.extents import relative_places
        >>> grid = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0], [0, 2, 0, 0], [-1, -1, -1, -1]])
        >>> shapes = (MediaShape(Modality.VIDEO, 3, 1, 1),)
        >>> modality, cu_seqlens = torch.tensor([1, 1, 1, 0]), torch.tensor([0, 4])
        >>> layout = TokenLayout(modality, torch.arange(4), cu_seqlens, grid=grid, shapes=shapes)
        >>> relative_places(layout)[:, 0].tolist()
        [0.0, 0.5, 1.0, 0.0]
    """
    plan = check_layout(layout).plan()
    places = torch.zeros(len(plan), 3, dtype=torch.float32, device="cpu")
    for kind in (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE):
        steps = group_tokens(plan, "frame", [kind])
        inside = steps.ids >= 0
        places[inside, 0] = _share_of_prompt(steps, plan.num_rows)[steps.ids[inside]]
    assert plan.grid is not None and plan.shapes is not None
    inside = plan.grid[:, 0].cpu() >= 0
    item, _, *place = plan.grid.cpu()[inside].long().unbind(1)
    sizes = torch.tensor([shape[2:] for shape in plan.shapes], dtype=torch.int64, device="cpu").view(-1, 2)
    places[inside, 1:] = torch.stack(place, 1) / (sizes[item] - 1).clamp(min=1)
    return places


def _share_of_prompt(groups: Groups, num_rows: int) -> Tensor:
    """float32 [G]: how far along the groups of its prompt a group is."""
    counts = torch.bincount(groups.row, minlength=num_rows)
    first = (counts.cumsum(0) - counts)[groups.row]
    steps = torch.arange(len(groups), dtype=torch.int64, device="cpu") - first
    return steps / (counts[groups.row] - 1).clamp(min=1)
