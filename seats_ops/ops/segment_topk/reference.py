"""segment_topk in PyTorch: rank every token inside its segment by two stable sorts."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.ops.segments import counts_to_offsets


def rank_in_segment(scores: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """int64 [T]: how many tokens of the same segment come before a token (higher score, or equal and earlier).

    `segment` holds 0 to `num_segments` - 1.
    """
    ordered = scores.float().nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    by_score = ordered.argsort(descending=True, stable=True)
    order = by_score[segment[by_score].argsort(stable=True)]
    counts = torch.zeros(num_segments, dtype=torch.int64, device=scores.device)
    counts.scatter_add_(0, segment, torch.ones_like(segment))
    slot = torch.arange(scores.shape[0], dtype=torch.int64, device=scores.device)
    rank = torch.empty_like(slot)
    rank[order] = slot - counts_to_offsets(counts)[segment[order]]
    return rank


def segment_topk(scores: Tensor, segment: Tensor, budget: Tensor) -> Tensor:
    """See `api.segment_topk`."""
    num_segments = budget.shape[0]
    segment = segment.long()
    # Tokens outside all segments form one more segment, which is kept whole.
    group = torch.where(segment < 0, num_segments, segment)
    rank = rank_in_segment(scores, group, num_segments + 1)
    limit = torch.nn.functional.pad(budget.long(), (0, 1), value=scores.shape[0])
    return rank < limit[group]
