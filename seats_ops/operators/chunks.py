"""Groups of so many tokens in a row of one modality, whatever items they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from seats_ops.layout import Groups, MediaShape, Modality, TokenLayout, group_tokens


def chunk_tokens(layout: TokenLayout, kinds: Iterable[Modality], length: Callable[[MediaShape], int]) -> Groups:
    """A prompt's tokens of every modality, in order, cut into chunks; the last one may be short.

    Args:
        layout: one with grid and shapes.
        kinds: modalities to be cut; tokens of others are in no group.
        length: of the chunks of a prompt and modality, from its first item.

    Raises:
        ValueError: a layout without grid and shapes.

    Example:
        >>> import torch
        >>> from seats_ops.layout import MediaShape, Modality, TokenLayout
        >>> from seats_ops.operators.chunks import chunk_tokens
        >>> grid = torch.tensor([[0, i, 0, 0] for i in range(5)])
        >>> kinds, offsets = torch.full((5,), 2), torch.tensor([0, 5])
        >>> layout = TokenLayout(kinds, torch.arange(5), offsets, grid=grid, shapes=(MediaShape(Modality.AUDIO, 5),))
        >>> chunk_tokens(layout, [Modality.AUDIO], lambda shape: 2).ids.tolist()
        [0, 0, 1, 1, 2]
    """
    plan = layout.plan()
    if plan.grid is None or plan.shapes is None:
        raise ValueError("layout: expected one with grid and shapes to cut its tokens, got None")
    whole = group_tokens(plan, "modality", kinds)
    ids, sizes, of = torch.full_like(whole.ids, -1), list[int](), list[int]()
    for g, tokens in enumerate(whole.packed()[0].split(whole.lengths.tolist())):
        one = length(plan.shapes[int(plan.grid[tokens[0], 0])])
        ids[tokens] = len(sizes) + torch.arange(len(tokens), dtype=torch.int64, device="cpu") // one
        mine = [len(part) for part in tokens.split(one)]
        sizes, of = sizes + mine, of + [g] * len(mine)
    lengths, at = (torch.tensor(part, dtype=torch.int64, device="cpu") for part in (sizes, of))
    return Groups(ids, lengths, whole.row[at], whole.modality[at])
