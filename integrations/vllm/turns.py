"""How items that last at the same time stand in a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def take_turns(times: Sequence[Tensor], chunk: int) -> list[tuple[int, range]]:
    """Runs of several items by time: the i-th chunk of the first, the i-th chunk of the second, and so on.

    Args:
        times: ascending [N] of the tokens of every item.
        chunk: how long one has its turn.

    Returns:
        (index of the item, its tokens) of every run.
    """
    parts: list[list[range]] = []
    for moments in times:
        cuts: list[range] = []
        start = 0
        for index, time in enumerate(moments.tolist()):
            # A token begins one chunk at most, even after a gap of several.
            if time >= (len(cuts) + 1) * chunk:
                cuts.append(range(start, index))
                start = index
        parts.append([*cuts, range(start, len(moments))])
    longest = max(map(len, parts))
    return [(item, part[i]) for i in range(longest) for item, part in enumerate(parts) if i < len(part)]


def by_time(times: Sequence[Tensor]) -> list[tuple[int, range]]:
    """The same token by token: the earliest stands first, and of several the first item's."""
    order = torch.cat([moments.double() for moments in times]).argsort(stable=True)
    which = torch.cat([torch.full_like(moments, item, dtype=torch.int64) for item, moments in enumerate(times)])
    items, lengths = which[order].unique_consecutive(return_counts=True)
    starts, runs = [0] * len(times), []
    for item, length in zip(items.tolist(), lengths.tolist(), strict=True):
        runs.append((item, range(starts[item], starts[item] + length)))
        starts[item] += length
    return runs
