"""The token at the same place of an earlier or a later frame."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.layout.token_layout import TokenLayout, check_layout
from seats_ops.validation import describe


def partners(layout: TokenLayout, step: int = -1) -> Tensor:
    """For every token the one at the same (h, w) of its item, `step` frames later; of sound, `step` tokens later.

    Args:
        layout: one with `grid`; its host copy is used where it has one.
        step: -1 is the frame before, 1 the next one.

    Returns:
        int64 [T] on the host, indices into the layout's tokens; -1 where there is none, or none left, and for text.

    Raises:
        ValueError: a layout without `grid`, a step of 0.

    Example:
        >>> import torch
        >>> from seats_ops.layout import MediaShape, Modality, TokenLayout, partners
        >>> grid = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0], [0, 1, 0, 1], [-1, -1, -1, -1]])
        >>> shapes = (MediaShape(Modality.VIDEO, 2, 1, 2),)
        >>> modality, cu_seqlens = torch.tensor([1, 1, 1, 1, 0]), torch.tensor([0, 5])
        >>> layout = TokenLayout(modality, torch.arange(5), cu_seqlens, grid=grid, shapes=shapes)
        >>> partners(layout).tolist()
        [-1, -1, 0, 1, -1]
    """
    plan = check_layout(layout).plan()
    if plan.grid is None or plan.shapes is None:
        raise ValueError("layout: expected one with grid and shapes, got None")
    if type(step) is not int or step == 0:
        raise ValueError(f"step: expected an int other than 0, got {describe(step)}")
    grid = plan.grid.long().cpu()
    found = torch.full((len(plan),), -1, dtype=torch.int64, device="cpu")
    inside = (grid[:, 0] >= 0).nonzero().squeeze(1)
    if not len(inside):
        return found
    sizes = torch.tensor([shape[1:] for shape in plan.shapes], dtype=torch.int64, device="cpu").view(-1, 3)
    starts = torch.nn.functional.pad(sizes.prod(1).cumsum(0), (1, 0))
    item, t, h, w = grid[inside].unbind(1)
    frames, height, width = sizes[item].unbind(1)
    place = starts[item] + (t * height + h) * width + w
    token_at = torch.full((int(starts[-1]),), -1, dtype=torch.int64, device="cpu").scatter(0, place, inside)
    there = (t + step >= 0) & (t + step < frames)
    wanted = (place + step * height * width).clamp(0, len(token_at) - 1)
    found[inside] = torch.where(there, token_at[wanted], -1)
    return found
