"""One call of every primitive at a given size, for tests that look at launches and not at results."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seats_ops import functional as F
from seats_ops.testing import packed_offsets


def attention_received(
    total: int, *, dim: int = 80, heads: int = 2, dtype: torch.dtype = torch.bfloat16, **to: Any
) -> Tensor:
    q = torch.ones(total, heads, dim, dtype=dtype)
    return F.attention_received(q, q, packed_offsets([total - 7, 7]), max_seqlen=total - 7, **to)


def dpc_knn(total: int, *, dim: int = 3584, dtype: torch.dtype = torch.bfloat16, **to: Any) -> Tensor:
    features, offsets = torch.ones(total, dim, dtype=dtype), packed_offsets([total - 7, 7])
    place, index = torch.ones(total, 3), torch.arange(total)
    given = {"density_scale": torch.ones(total), "offsets": place, "offset_weight": 0.2, "index": index}
    return F.dpc_knn(features, offsets, num_neighbors=7, max_seqlen=total - 7, **given, **to)


def max_min_diversity(
    total: int, *, dim: int = 3584, windows: int = 2, dtype: torch.dtype = torch.bfloat16, **to: Any
) -> Tensor:
    """One window of nearly all tokens, and empty ones and a short one behind it."""
    features, counts = torch.ones(total, dim, dtype=dtype), torch.full((windows,), 9)
    weights = torch.ones(total)
    offsets = packed_offsets([total - 7, *[0] * (windows - 2), 7])
    return F.max_min_diversity(features, offsets, counts, weights=weights, max_seqlen=total - 7, max_keep=9, **to)


def greedy_dpp(total: int, *, dim: int = 3584, dtype: torch.dtype = torch.bfloat16, **to: Any) -> Tensor:
    features, counts = torch.ones(total, dim, dtype=dtype), torch.full((2,), 9)
    quality, offsets = torch.ones(total), packed_offsets([total - 7, 7])
    return F.greedy_dpp(features, offsets, counts, quality=quality, max_seqlen=total - 7, max_keep=9, **to)


def query_relevance(
    total: int, *, dim: int = 128, heads: int = 28, group: int = 7, dtype: torch.dtype = torch.bfloat16, **to: Any
) -> Tensor:
    query, key = torch.ones(2, heads, dim, dtype=dtype), torch.ones(total, heads // group, dim, dtype=dtype)
    return F.query_relevance(query, key, packed_offsets([total - 7, 7]), max_seqlen=total - 7, **to)


def window_budget(total: int, *, windows: int = 32, dtype: torch.dtype = torch.float32, **to: Any) -> Tensor:
    token = torch.arange(total)
    return F.window_budget(
        torch.ones(total, dtype=dtype),
        token % 3,
        torch.where(token % 3 > 0, token % windows, -1),
        torch.tensor([[total // 4, total // 5]]),
        num_windows=windows,
        temperature=0.1,
        **to,
    )


def segment_topk(total: int, *, segments: int = 64, dtype: torch.dtype = torch.float32, **to: Any) -> Tensor:
    segment = torch.arange(total) % segments
    return F.segment_topk(torch.ones(total, dtype=dtype), segment, torch.full((segments,), 3), **to)


def compact(total: int, *, dim: int = 3584, dtype: torch.dtype = torch.bfloat16, **to: Any) -> tuple[Tensor, ...]:
    keep = torch.arange(total) % 2 == 0
    hidden, rotary = torch.ones(total, dim, dtype=dtype), torch.ones(total, 128, dtype=dtype)
    return F.compact(keep, hidden, rotary, rotary, torch.arange(total), num_kept=(total + 1) // 2, **to)


def merge_rows(total: int, *, dim: int = 3584, dtype: torch.dtype = torch.bfloat16, **to: Any) -> Tensor:
    """Rows merged by threes, forward and backward."""
    row = torch.arange(total)
    features = torch.ones(total, dim, dtype=dtype, requires_grad=True)
    merged = F.merge_rows(features, row // 3, row, torch.ones(total), **to)
    (grad,) = torch.autograd.grad(merged, features, torch.ones_like(merged))
    return grad


def temporal_similarity(total: int, *, dim: int = 3584, dtype: torch.dtype = torch.bfloat16, **to: Any) -> Tensor:
    return F.temporal_similarity(torch.ones(total, dim, dtype=dtype), torch.arange(total) - 1, **to)


def group_budget(total: int, *, groups: int = 32, dtype: torch.dtype = torch.float32, **to: Any) -> Tensor:
    rows = max(1, total // groups)
    scores, lengths = torch.ones(rows * groups, dtype=dtype), torch.full((rows * groups,), 9)
    totals, offsets = torch.full((rows,), 5 * groups), torch.arange(rows + 1) * groups
    return F.group_budget(scores, lengths, totals, offsets, minimum=1, max_groups=groups, **to)


CALLS = {
    call.__name__: call
    for call in (
        attention_received,
        max_min_diversity,
        greedy_dpp,
        query_relevance,
        window_budget,
        segment_topk,
        compact,
        merge_rows,
        temporal_similarity,
        group_budget,
        dpc_knn,
    )
}
