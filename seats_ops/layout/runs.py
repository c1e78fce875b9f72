"""Runs of tokens in consecutive columns: how sound and video interleave."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.layout.modality import Modality
from seats_ops.layout.token_layout import TokenLayout, check_layout


def token_runs(layout: TokenLayout, modality: Modality) -> list[list[Tensor]]:
    """Tokens of one modality in consecutive columns, prompt by prompt.

    A run of video ends with its video where the layout has `grid`: frames of the next one may have another size.

    Returns:
        One list a prompt of int64 tokens, on the host.

    Example:
        >>> from seats_ops import Modality
        >>> from seats_ops.layout.runs import token_runs
        >>> from seats_ops.testing import layout_of_runs
        >>> layout = layout_of_runs([[(Modality.VIDEO, 2), (Modality.AUDIO, 1), (Modality.VIDEO, 1)]])
        >>> [run.tolist() for run in token_runs(layout, Modality.VIDEO)[0]]
        [[0, 1], [3]]
    """
    plan = check_layout(layout).plan()
    at = plan.is_modality(modality).nonzero().squeeze(1).cpu()
    found: list[list[Tensor]] = [[] for _ in range(plan.num_rows)]
    if not len(at):
        return found
    column = plan.position.cpu()[at].long() - torch.arange(len(at), dtype=torch.int64, device="cpu")
    facts = [plan.rows().cpu()[at], column]
    if modality == Modality.VIDEO and plan.grid is not None:
        facts.append(plan.grid.cpu()[at, 0].long())
    rows, lengths = torch.stack(facts, 1).unique_consecutive(dim=0, return_counts=True)
    for row, run in zip(rows[:, 0].tolist(), at.split(lengths.tolist()), strict=True):
        found[row].append(run)
    return found


def frame_size(layout: TokenLayout, token: int | Tensor) -> int:
    """Tokens of a frame of the video that a token belongs to. Raises ValueError: a layout without `grid`."""
    plan = layout.plan()
    if plan.grid is None or plan.shapes is None:
        raise ValueError("layout: expected one with grid and shapes, got None")
    shape = plan.shapes[int(plan.grid[token, 0])]
    return shape.h * shape.w
