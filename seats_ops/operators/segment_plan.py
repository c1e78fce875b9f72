"""How many salient tokens and anchors every frame of a video keeps, by the segment that it is in (FastVID)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from seats_ops.layout import Groups


class SegmentPlan(NamedTuple):
    """Numbers of one video.

    Attributes:
        segments: frames of every segment.
        salient, anchors: tokens of every frame that stay for their saliency, and as anchors.
    """

    segments: list[int]
    salient: list[int]
    anchors: list[int]


def even_plan(segments: list[int], grid: int, budget: int, context: float, every: int) -> SegmentPlan:
    """Every frame keeps the same salient tokens; anchors of a segment are in every so many frames, from its end.

    What does not divide among anchor frames is lost, and so is what a frame has not got.

    Args:
        segments: frames of every segment.
        grid: tokens of a frame.
        budget: tokens that a frame keeps on average.
        context: share of it that goes to anchors, rounded down.
        every: anchor frames are this far apart.

    Example:
        >>> from seats_ops.operators.segment_plan import even_plan
        >>> even_plan([5], grid=20, budget=5, context=0.4, every=4)
        SegmentPlan(segments=[5], salient=[3, 3, 3, 3, 3], anchors=[5, 0, 0, 0, 5])
    """
    of_anchors = int(budget * context)
    salient, anchors = budget - of_anchors, list[int]()
    for length in segments:
        each = min(of_anchors * length // -(-length // every), grid - salient)
        anchors += [each * ((length - 1 - i) % every == 0) for i in range(length)]
    return SegmentPlan(segments, [salient] * len(anchors), anchors)


def collapsed_plan(
    segments: list[int], grid: int, budget: int, context: float, every: int, alike: Sequence[bool]
) -> SegmentPlan:
    """Of frames in a row that are alike only the last one keeps tokens; what a segment may keep is shared among those.

    A segment has one anchor at least, and as many salient tokens as its budget then allows. Remainders go to the first
    frames, of anchors to the last ones. A frame keeps at most half of its tokens as anchors, one at least, unless it is
    a segment alone.

    Args:
        segments, grid, budget, context, every: see `even_plan`; rounded down is what a segment has, not a frame.
        alike: [F - 1], a frame and the next one are.

    Example:
        >>> from seats_ops.operators.segment_plan import collapsed_plan
        >>> collapsed_plan([3], grid=20, budget=5, context=0.4, every=4, alike=[True, False])
        SegmentPlan(segments=[3], salient=[0, 5, 4], anchors=[0, 0, 6])
    """
    salient, anchors, start = list[int](), list[int](), 0
    for length in segments:
        valid = [i for i in range(length) if i == length - 1 or not alike[start + i]]
        of_anchors = max(int(budget * length * context), 1)
        shares = iter(_shares(of_anchors, -(-len(valid) // every)))
        some = [next(shares) if i % every == 0 else 0 for i in range(len(valid))][::-1]
        most = max(grid // 2, 1) if length > 1 else grid
        found = dict.fromkeys(range(length), (0, 0))
        others = _shares(max(budget * length - of_anchors, 0), len(valid))
        for i, anchor, other in zip(valid, some, others, strict=True):
            found[i] = (min(other, grid - min(anchor, most)), min(anchor, most))
        salient += [n for n, _ in found.values()]
        anchors += [n for _, n in found.values()]
        start += length
    return SegmentPlan(segments, salient, anchors)


def segment_members(frames: Groups, segments: Sequence[int], anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Every token of a segment, once for each frame of the segment that has anchors.

    Args:
        frames: of all videos.
        segments: frames of every segment of all videos.
        anchors: int64 [F] on the host, of every frame.

    Returns:
        (token, frame): int64 [N] each, on the host.

    Example:
        >>> import torch
        >>> from seats_ops.layout import Groups
        >>> from seats_ops.operators.segment_plan import segment_members
        >>> frames = Groups(torch.tensor([0, 0, 1, 1]), torch.tensor([2, 2]), torch.zeros(2), torch.ones(2))
        >>> segment_members(frames, [2], torch.tensor([0, 5]))
        (tensor([0, 1, 2, 3]), tensor([1, 1, 1, 1]))
    """
    index, cu_seqlens = frames.packed()
    starts, ends = cu_seqlens.tolist(), list(accumulate(segments))
    of = [(n, end) for n, end in zip(segments, ends, strict=True) for _ in range(n)]
    some = anchors.nonzero().squeeze(1)
    tokens = [index[starts[end - n] : starts[end]] for n, end in (of[frame] for frame in some.tolist())]
    lengths = torch.tensor([len(mine) for mine in tokens], dtype=torch.int64, device="cpu")
    return torch.cat([index[:0], *tokens]), some.repeat_interleave(lengths)


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (i < total % parts) for i in range(parts)]
