"""DySeg: a video cut into segments of frames where neighbours look least alike."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from seats_ops.layout import TokenLayout
from seats_ops.operators.items import whole_items


def frame_similarity(frames: Tensor) -> Tensor:
    """float32 [F - 1]: cosine of every frame with the next one.

    Args:
        frames: [F, D], one row a frame, e.g. the mean of its tokens.

    Example:
        >>> import torch
        >>> from seats_ops.operators.dyseg import frame_similarity
        >>> frame_similarity(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])).tolist()
        [1.0, 0.0]
    """
    # Rounded from float64, so that pairs that are equally alike tie.
    x = torch.nn.functional.normalize(frames.double(), dim=-1)
    return (x[:-1] * x[1:]).sum(-1).float()


def dyseg(similarity: Tensor, *, threshold: float, least: int = 1) -> list[int]:
    """Lengths of the segments of a video of F frames, which add up to F.

    Cut is wherever neighbours have a similarity below `threshold`, and then, until there are `least` segments, at the
    smallest similarities that are left, ties to the first. This is what FastVID (arXiv 2503.11187, section 3.2: the
    least - 1 smallest ones and all below the threshold) and FlashVID (2602.08024) cut. A video of fewer than `least`
    frames is cut between all of them.

    Args:
        similarity: [F - 1], see `frame_similarity`; read to the host. NaN counts as a cut.
        threshold: a similarity of this much holds frames together.
        least: segments to be had, at least 1.

    Example:
        >>> import torch
        >>> from seats_ops.operators.dyseg import dyseg
        >>> dyseg(torch.tensor([0.9, 0.2, 0.95, 0.8]), threshold=0.5, least=3)
        [2, 2, 1]
    """
    if type(least) is not int or least < 1:
        raise ValueError(f"least: expected an int from 1, got {least!r}")
    # float32 as the similarities are: a similarity that equals the threshold is not below it.
    held = (similarity.float().cpu() >= torch.tensor(threshold, dtype=torch.float32, device="cpu")).tolist()
    values = similarity.float().cpu().tolist()
    order = sorted(range(len(values)), key=lambda i: (held[i], values[i] if held[i] else 0.0, i))
    cuts = sorted(order[: max(held.count(False), min(least - 1, len(values)))])
    edges = [0, *(i + 1 for i in cuts), len(values) + 1]
    return [end - start for start, end in pairwise(edges)]


def video_segments(
    who: str, features: Tensor, layout: TokenLayout, *, threshold: float, least: int
) -> list[tuple[Tensor, Tensor, list[int]]]:
    """The segments of every video: its tokens [t * h * w], means of its frames float64 [t, D], lengths of segments.

    Args:
        who: asks, for errors.
        features: [T, D].
        layout: with `grid` and `shapes`.
        threshold, least: see `dyseg`.

    Raises:
        ValueError: as `whole_items`.

    Example:
        >>> import torch
        >>> from seats_ops.layout import MediaShape, Modality, TokenLayout
        >>> from seats_ops.operators.dyseg import video_segments
        >>> modality, offsets = torch.ones(3, dtype=torch.int64), torch.tensor([0, 3])
        >>> grid = torch.tensor([[0, t, 0, 0] for t in range(3)])
        >>> shapes = (MediaShape(Modality.VIDEO, 3, 1, 1),)
        >>> layout = TokenLayout(modality, torch.arange(3), offsets, grid=grid, shapes=shapes)
        >>> frames = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> [lengths for _, _, lengths in video_segments("me", frames, layout, threshold=0.5, least=1)]
        [[2, 1]]
    """
    found = []
    for item in whole_items(who, layout):
        tokens = item.tokens.to(features.device, non_blocking=True)
        frames = features[tokens].view(item.shape.t, item.grid, -1).mean(1, dtype=torch.float64)
        found.append((tokens, frames, dyseg(frame_similarity(frames), threshold=threshold, least=least)))
    return found
