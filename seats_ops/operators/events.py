"""What happens in a video: tokens that change, that differ from their frame, that turn."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, group_tokens, partners
from seats_ops.operators.grouped import Grouped
from seats_ops.ops.temporal_similarity.api import temporal_similarity


def neighbour_change(features: Tensor, before: Tensor, *, backend: str = "auto") -> Tensor:
    """float32 [T]: the larger 1 - cosine with the token before and the one after; at least 0, and 0 without either.

    Args:
        features: [T, D].
        before: int64 [T] on the host, the token before, -1 for none.

    Example:
        >>> import torch
        >>> from seats_ops.operators.events import neighbour_change
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> neighbour_change(features, torch.tensor([-1, 0, 1])).tolist()
        [0.0, 1.0, 1.0]
    """
    there = (before >= 0).nonzero().squeeze(1)
    after = torch.full_like(before, -1).index_copy_(0, before[there], there)
    both = (step.to(features.device, non_blocking=True) for step in (before, after))
    changes = [1.0 - temporal_similarity(features, step, missing=1.0, backend=backend) for step in both]
    return torch.maximum(*changes).clamp(min=0.0)


def curvature(features: Tensor, layout: TokenLayout) -> Tensor:
    """float32 [T]: 1 - cosine between the steps to a token from the frame before and from it to the next; else 0."""
    before, after = (partners(layout, step).to(features.device, non_blocking=True) for step in (-1, 1))
    inner = (before >= 0) & (after >= 0)
    x = features.float()
    turn = 1.0 - cosine(x - x[before.clamp(min=0)], x[after.clamp(min=0)] - x)
    return torch.where(inner, turn, 0.0)


def event_evidence(features: Tensor, layout: TokenLayout, groups: Grouped, change: Tensor) -> Tensor:
    """float32 [T]: how much happens at a token of video (OmniPack, arXiv 2608.03812).

    The larger of its change and 1 - cosine with the mean of its frame, and 0.35 * its curvature, each scaled to its
    group; 0 for a token without one at its place in a neighbouring frame.
    """
    frames = Grouped(group_tokens(layout, "frame", [Modality.VIDEO]), features.device)
    moves = (partners(layout) >= 0) | (partners(layout, 1) >= 0)
    detail = 1.0 - cosine(features, frames.spread(frames.mean(features)))
    detail = torch.where(moves.to(features.device, non_blocking=True), detail, 0.0)
    return groups.minmax(torch.maximum(change, detail)) + 0.35 * groups.minmax(curvature(features, layout))


def before_in_media(layout: TokenLayout) -> Tensor:
    """int64 [T] on the host: the token at the same place of the frame before; of sound, the one before it."""
    before = partners(layout)
    sound, _ = group_tokens(layout, "modality", [Modality.AUDIO]).packed()
    row = layout.plan().rows().cpu()[sound]
    # Sound is one sequence, whatever items it comes in.
    before[sound[1:]] = torch.where(row[1:] == row[:-1], sound[:-1], -1)
    return before


def cosine(x: Tensor, y: Tensor, eps: float = 1e-6) -> Tensor:
    """float32 [T] of [T, D] twice: x . y / (|x| |y| + eps)."""
    x, y = x.float(), y.float()
    return (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1) + eps)
