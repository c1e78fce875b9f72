"""Ids, offsets, counts and indices of every integer dtype, foreign memory of tempting values around each tensor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seats_ops import functional as F
from seats_ops.testing import near_constant_saliency, tied_features
from seats_ops.testing.memory import surrounded

DTYPES = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64]
LENGTHS, TOTAL = [40, 0, 17], 57

# Names of the integer arguments of every primitive, and what they hold.
INTEGERS: dict[str, dict[str, list[int]]] = {
    "attention_received": {"cu_seqlens": [0, 40, 40, 57]},
    "dpc_knn": {"cu_seqlens": [0, 40, 40, 57], "index": list(range(TOTAL))[::-1]},
    "max_min_diversity": {"cu_seqlens": [0, 40, 40, 57], "num_keep": [9, 0, 100], "index": list(range(TOTAL))[::-1]},
    "greedy_dpp": {"cu_seqlens": [0, 40, 40, 57], "num_keep": [3, 0, 2], "index": list(range(TOTAL))[::-1]},
    "query_relevance": {"cu_seqlens": [0, 40, 40, 57]},
    "window_budget": {
        "modality": [t % 3 for t in range(TOTAL)],
        "window": [t // 12 for t in range(TOTAL)],
        "totals": [9, 5, 100, 0],
        "window_offsets": [0, 3, 5],
    },
    "segment_topk": {"segment": [t % 3 for t in range(TOTAL)], "budget": [4, 0, 100]},
    "merge_rows": {"target": [t % 9 for t in range(TOTAL)], "source": list(range(TOTAL))[::-1]},
    "group_budget": {
        "lengths": [t % 7 for t in range(TOTAL)],
        "totals": [60, 3, 50],
        "cu_groups": [0, 40, 40, 57],
    },
    "temporal_similarity": {"partner": [t * 5 % TOTAL for t in range(TOTAL)]},
}


def call(primitive: str, integers: dict[str, Tensor], backend: str) -> Tensor:
    random = torch.Generator().manual_seed(0)
    heads, scores = torch.randn(TOTAL, 1, 16, generator=random), near_constant_saliency(TOTAL, seed=0)
    given = dict(integers)
    if primitive == "attention_received":
        return F.attention_received(heads, heads.flip(0), **given, max_seqlen=40, backend=backend)
    if primitive == "dpc_knn":
        return F.dpc_knn(tied_features(TOTAL, seed=1), **given, num_neighbors=2, max_seqlen=40, backend=backend)
    if primitive == "max_min_diversity":
        return F.max_min_diversity(tied_features(TOTAL, seed=1), **given, max_seqlen=40, max_keep=100, backend=backend)
    if primitive == "greedy_dpp":
        return F.greedy_dpp(tied_features(TOTAL, seed=1), **given, max_seqlen=40, max_keep=3, backend=backend)
    if primitive == "query_relevance":
        return F.query_relevance(heads[:3], heads, **given, max_seqlen=40, backend=backend)
    if primitive == "group_budget":
        return F.group_budget(scores, **given, minimum=1, max_groups=40, backend=backend)
    if primitive == "temporal_similarity":
        return F.temporal_similarity(heads[:, 0], **given, backend=backend)
    if primitive == "window_budget":
        given["totals"] = given["totals"].view(2, 2)
        return F.window_budget(scores, **given, num_windows=5, temperature=0.1, backend=backend)
    if primitive == "merge_rows":
        return F.merge_rows(heads[:, 0], **given, coefficient=scores, backend=backend)
    return F.segment_topk(scores, **given, backend=backend)


def test_every_primitive_with_integers_is_called() -> None:
    assert set(INTEGERS) | {"compact"} == set(F.__all__), "compact has none: its mask is bool, its index its own"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("primitive", INTEGERS)
def test_every_dtype_gives_what_int64_gives(primitive: str, dtype: torch.dtype) -> None:
    held = INTEGERS[primitive]
    expected = call(primitive, {name: torch.tensor(values) for name, values in held.items()}, "reference")
    for by in (torch.iinfo(dtype).max, 1):
        given = {name: surrounded(torch.tensor(values).to(dtype), by) for name, values in held.items()}
        torch.testing.assert_close(call(primitive, given, "triton"), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8], ids=str)
def test_a_segment_with_the_largest_number_the_dtype_holds(dtype: torch.dtype) -> None:
    """No number is left to stand for "outside": what lies behind the tensors seems to belong to the last segment."""
    last = torch.iinfo(dtype).max
    segment = surrounded(torch.tensor([last, 0, last, 1, last]).to(dtype), last, room=2000)
    scores = surrounded(torch.tensor([1.0, 2.0, 3.0, 4.0, 0.5]), 1e9, room=2000)
    keep = F.segment_topk(scores, segment, torch.ones(last + 1, dtype=dtype), backend="triton")
    assert keep.tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("wide", [2**32 + 1, 2**32 + 2, -(2**32) + 1])
def test_wide_ids_are_not_cut_before_they_are_compared(wide: int) -> None:
    """A modality that becomes 1 or 2 in 32 bits is neither video nor audio."""
    modality, window = torch.tensor([1, wide, 2, 1]), torch.tensor([0, 0, 0, 1])
    totals = torch.tensor([[9, 9]])
    budgets = F.window_budget(torch.ones(4), modality, window, totals, num_windows=2, temperature=0.1, backend="triton")
    assert budgets.tolist() == [[1, 1], [1, 0]]
