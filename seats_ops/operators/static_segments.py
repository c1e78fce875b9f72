"""A video cut into stretches of frames in which places stand still, so that most tokens can be left out."""

from __future__ import annotations

import torch
from torch import Tensor


def static_segments(still: Tensor, max_window: int) -> tuple[list[tuple[int, int]], int]:
    """Segments (first frame, frame after the last) of a video of F frames, and how many tokens they leave out.

    A segment of n frames leaves out n - 1 tokens of every place that stands still all through it (HoliTom, arXiv
    2505.21334, section 3.2). The segments are those that leave out the most; of ties, from the last frame on, those
    with the shorter segment at the end.

    Args:
        still: bool [F - 1, P] on the host: a place of a frame is like the same place of the frame before.
        max_window: frames of a segment, at most.

    Example:
        >>> import torch
        >>> from seats_ops.operators.static_segments import static_segments
        >>> still = torch.tensor([[True, True], [False, False], [True, False]])
        >>> static_segments(still, max_window=8)
        ([(0, 2), (2, 4)], 3)
    """
    frames, places = len(still) + 1, still.shape[1]
    run = torch.zeros(places, dtype=torch.int64, device="cpu")
    # Of the frames before each one: the most that can be left out. Where the segment that ends at a frame starts.
    before = torch.zeros(frames + 1, dtype=torch.int64, device="cpu")
    starts = []
    for end in range(frames):
        run = (run + 1) * still[end - 1] if end else run
        steps = torch.arange(min(end + 1, max_window), dtype=torch.int64, device="cpu")
        # Places that stand still for that many steps or more.
        through = torch.bincount(run, minlength=end + 1).flip(0).cumsum(0).flip(0)[: len(steps)]
        gains = before[end - steps] + through * steps
        best = int(gains.argmax())
        before[end + 1] = gains[best]
        starts.append(end - best)
    segments, end = [], frames
    while end:
        segments.append((starts[end - 1], end))
        end = starts[end - 1]
    return segments[::-1], int(before[frames])
