"""The primitives, as functions on tensors.

Each runs as a Triton kernel on a GPU and as a torch reference elsewhere, unless `backend` names one.

Example:
    >>> import torch
    >>> from seats_ops import functional as F
    >>> keep_mask = torch.tensor([True, False, True])
    >>> F.compact(keep_mask, torch.arange(3))
    (tensor([0, 2]),)
"""

from __future__ import annotations

from seats_ops.ops.attention_received.api import attention_received
from seats_ops.ops.compact.api import compact
from seats_ops.ops.dpc_knn.api import dpc_knn
from seats_ops.ops.greedy_dpp.api import greedy_dpp
from seats_ops.ops.group_budget.api import group_budget
from seats_ops.ops.max_min_diversity.api import max_min_diversity
from seats_ops.ops.merge_rows.api import merge_rows
from seats_ops.ops.query_relevance.api import query_relevance
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.ops.temporal_similarity.api import temporal_similarity
from seats_ops.ops.window_budget.api import window_budget

__all__ = [
    "attention_received",
    "compact",
    "dpc_knn",
    "greedy_dpp",
    "group_budget",
    "max_min_diversity",
    "merge_rows",
    "query_relevance",
    "segment_topk",
    "temporal_similarity",
    "window_budget",
]
