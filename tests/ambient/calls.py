"""Calls of every primitive and operator: short and long segments, one and several of them, all value dtypes.

Their data is made when this module is imported, outside of any mode.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from seats_ops import DiversitySelector, Modality, ModalityDropper, StagePruner, TokenLayout, WindowBudgetAllocator
from seats_ops import functional as F
from seats_ops.integrations.huggingface.families.conformer import biased_attention_received
from seats_ops.integrations.huggingface.prompt.time_windows import time_windows
from seats_ops.layout.windows import run_windows
from seats_ops.ops.max_min_diversity.reference import max_min_order
from seats_ops.testing import clustered_features, layout_of_runs, near_constant_saliency, packed_offsets

T, V, A = Modality.TEXT, Modality.VIDEO, Modality.AUDIO
FEATURES = clustered_features(420, 64, seed=1, clusters=60)
WEIGHTS = near_constant_saliency(420, seed=2)
HEADS = FEATURES.view(420, 2, 32)
# 300 tokens and more are multiplied by oneDNN; Triton's interpreter asks nothing of it and takes its time.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
LENGTHS = [9, 0, 17, 40] if INTERPRETED else [40, 0, 61, 319]
OFFSETS = packed_offsets(LENGTHS)
COUNTS = torch.tensor([2, 3, 3, 4] if INTERPRETED else [9, 3, 20, 30])
PACKED, PACKED_HEADS, PACKED_WEIGHTS = FEATURES[: sum(LENGTHS)], HEADS[: sum(LENGTHS)], WEIGHTS[: sum(LENGTHS)]
LAYOUT = layout_of_runs([[(T, 3), (V, 150), (A, 60), (T, 2), (V, 30), (T, 5)], [(V, 80), (A, 80), (T, 10)]])
SCORES = FEATURES[:, 0].softmax(0)
SEGMENT = torch.arange(420) % 7 - 1
BUDGET = torch.tensor([3, 0, 50, 100, 1, 9])
PARTNER = (torch.arange(420) - 60).clamp(min=-1)
MASK = FEATURES[:, 1] > 0
PLACE = torch.arange(30)
BIAS = clustered_features(2 * 2 * 60, 60, seed=3).view(2, 2, 60, 60)
RATIO = {"video": 0.35, "audio": 0.2}
_NUM_WINDOWS = LAYOUT.windows()[1]


def _budgets(scores: Tensor, totals: Tensor) -> Tensor:
    windows = LAYOUT.cu_seqlens.new_tensor([0, 2, _NUM_WINDOWS])
    return F.window_budget(
        scores,
        LAYOUT.modality,
        LAYOUT.windows()[0],
        totals,
        num_windows=_NUM_WINDOWS,
        temperature=0.1,
        window_offsets=windows,
    )


def _shares(scores: Tensor, totals: Tensor, temperature: float | None) -> Tensor:
    lengths, offsets = SEGMENT[: len(scores)] + 1, OFFSETS[:1].new_tensor([0, 40, 60])
    return F.group_budget(scores, lengths, totals, offsets, temperature=temperature, minimum=1)


def _peaks(features: Tensor, cu_seqlens: Tensor, scale: Tensor) -> Tensor:
    place = features[:, :2]
    return F.dpc_knn(
        features, cu_seqlens, num_neighbors=5, density_scale=scale, offsets=place, offset_weight=0.2, metric="cosine"
    )


def _layout(*ids: Tensor) -> Tensor:
    layout = TokenLayout(*ids)
    return torch.stack([run_windows(layout), layout.rows()])


def _time(modality: Tensor, rows: Tensor) -> Tensor:
    return time_windows(modality, rows, [(150, 25), (30, 15), (80, 8)], [0.7, 1.0, 0.3], [60, 80], 13.0)


CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "attention_received": (F.attention_received, (PACKED_HEADS, PACKED_HEADS.flip(2).contiguous(), OFFSETS)),
    "attention_received_half": (F.attention_received, (PACKED_HEADS.half(), PACKED_HEADS.flip(0).half(), OFFSETS)),
    "dpc_knn": (_peaks, (PACKED, OFFSETS, PACKED_WEIGHTS)),
    "dpc_knn_half": (_peaks, (PACKED.bfloat16(), OFFSETS, PACKED_WEIGHTS.bfloat16())),
    "max_min_diversity": (F.max_min_diversity, (PACKED, OFFSETS, COUNTS)),
    "max_min_diversity_half": (F.max_min_diversity, (PACKED.bfloat16(), OFFSETS, COUNTS)),
    "max_min_diversity_by_weight": (
        functools.partial(F.max_min_diversity, weights=PACKED_WEIGHTS, first="weight"),
        (PACKED, OFFSETS, COUNTS),
    ),
    "max_min_order": (max_min_order, (PACKED, OFFSETS, COUNTS, PACKED_WEIGHTS)),
    "greedy_dpp": (F.greedy_dpp, (PACKED, OFFSETS, COUNTS)),
    "greedy_dpp_half": (F.greedy_dpp, (PACKED.bfloat16(), OFFSETS, COUNTS)),
    "query_relevance": (F.query_relevance, (HEADS[:1], HEADS)),
    "query_relevance_rows": (F.query_relevance, (HEADS[:4].bfloat16(), PACKED_HEADS.bfloat16(), OFFSETS)),
    "window_budget": (_budgets, (SCORES[: len(LAYOUT)], torch.tensor([[40, 20], [30, 11]]))),
    "window_budget_half": (_budgets, (SCORES[: len(LAYOUT)].half(), torch.tensor([[40, 20], [30, 11]]))),
    "segment_topk": (F.segment_topk, (SCORES, SEGMENT, BUDGET)),
    "segment_topk_half": (F.segment_topk, (SCORES.bfloat16(), SEGMENT, BUDGET)),
    "merge_rows": (F.merge_rows, (FEATURES[:9], SEGMENT[:30] + 1, PLACE % 9, SCORES[:30])),
    "merge_rows_half": (F.merge_rows, (FEATURES[:9].bfloat16(), SEGMENT[:30] + 1, PLACE % 9, SCORES[:30].half())),
    "temporal_similarity": (F.temporal_similarity, (FEATURES, PARTNER)),
    "temporal_similarity_half": (F.temporal_similarity, (FEATURES.bfloat16(), PARTNER)),
    "group_budget": (_shares, (SCORES[:60], torch.tensor([90, 40]), None)),
    "group_budget_softmax": (_shares, (FEATURES[:60, 2].half(), torch.tensor([90, 40]), 0.7)),
    "compact": (F.compact, (MASK, FEATURES, SEGMENT, FEATURES.half())),
    "diversity_selector": (DiversitySelector(RATIO, weighted=False), (FEATURES[: len(LAYOUT)], LAYOUT)),
    "window_budget_allocator": (WindowBudgetAllocator(0.3), (SCORES[: len(LAYOUT)], LAYOUT, RATIO)),
    "stage_pruner": (StagePruner(0.3), (SCORES[: len(LAYOUT)], LAYOUT)),
    "stage_pruner_runs": (StagePruner(RATIO, windows="runs"), (SCORES[: len(LAYOUT)], LAYOUT)),
    "modality_dropper": (ModalityDropper(("audio",)), (LAYOUT,)),
    "token_layout": (_layout, (LAYOUT.modality, LAYOUT.position, LAYOUT.cu_seqlens, LAYOUT.block, LAYOUT.window)),
    "time_windows": (_time, (LAYOUT.modality, LAYOUT.rows())),
    "biased_attention": (
        biased_attention_received,
        (HEADS[:120].view(2, 60, 2, 32), HEADS[120:240].view(2, 60, 2, 32), BIAS, MASK[:120].view(2, 60), 0.2, 13),
    ),
}


def answer(name: str) -> list[Any]:
    """Every tensor that a call gives."""
    function, arguments = CALLS[name]
    return tree_leaves(function(*arguments))
