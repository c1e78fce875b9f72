"""Ids, offsets, counts and indices of every integer dtype mean what they mean in int64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seats_ops import DiversitySelector, ModalityDropper, StagePruner, TokenLayout, WindowBudgetAllocator
from seats_ops import functional as F
from seats_ops.layout.windows import run_windows

DTYPES = [
    torch.uint8, torch.int8, torch.int16, torch.int32,
    torch.uint16, torch.uint32, torch.uint64,
]  # fmt: skip
Cast = Callable[[Tensor], Tensor]
RANDOM = torch.Generator().manual_seed(0)
TOTAL = 120
HEADS = torch.randn(TOTAL, 2, 8, generator=RANDOM)
FEATURES = HEADS.flatten(1)
SCORES = torch.rand(TOTAL, generator=RANDOM)
OFFSETS, COUNTS = torch.tensor([0, 40, 40, 120]), torch.tensor([5, 0, 90])
INDEX = torch.randperm(TOTAL, generator=RANDOM)
MODALITY = torch.randint(0, 4, (TOTAL,), generator=RANDOM)
PLACE = torch.arange(TOTAL)
# The last ids are the largest that an int8 holds, so that twice an id is none.
WINDOW = PLACE // 20 + 121
BLOCK = MODALITY + 4 * (PLACE // 60) + 120
ROWS = torch.tensor([0, 60, 120])
TOTALS = torch.tensor([[12, 9], [100, 100]])


def layout(cast: Cast) -> TokenLayout:
    return TokenLayout(cast(MODALITY), cast(PLACE), cast(ROWS), cast(BLOCK), cast(WINDOW))


def plain(cast: Cast) -> TokenLayout:
    return TokenLayout(cast(MODALITY), cast(PLACE), cast(ROWS))


def budgets(cast: Cast) -> Tensor:
    return F.window_budget(
        SCORES,
        cast(MODALITY),
        cast(WINDOW),
        cast(TOTALS),
        num_windows=127,
        temperature=0.1,
        window_offsets=cast(torch.tensor([0, 124, 127])),
    )


CALLS: dict[str, Callable[[Cast], Tensor]] = {
    "attention_received": lambda cast: F.attention_received(HEADS, HEADS, cast(OFFSETS)),
    "dpc_knn": lambda cast: F.dpc_knn(FEATURES, cast(OFFSETS), num_neighbors=4),
    "dpc_knn_index": lambda cast: F.dpc_knn(FEATURES, OFFSETS, num_neighbors=4, index=cast(INDEX)),
    "max_min_diversity": lambda cast: F.max_min_diversity(FEATURES, cast(OFFSETS), cast(COUNTS)),
    "max_min_diversity_index": lambda cast: F.max_min_diversity(FEATURES, OFFSETS, COUNTS, index=cast(INDEX)),
    "greedy_dpp": lambda cast: F.greedy_dpp(FEATURES, cast(OFFSETS), cast(COUNTS)),
    "greedy_dpp_index": lambda cast: F.greedy_dpp(FEATURES, OFFSETS, COUNTS, index=cast(INDEX)),
    "query_relevance": lambda cast: F.query_relevance(HEADS[:3], HEADS, cast(OFFSETS)),
    "window_budget": budgets,
    "segment_topk": lambda cast: F.segment_topk(SCORES, cast(PLACE % 3), cast(torch.tensor([3, 0, 127]))),
    "temporal_similarity": lambda cast: F.temporal_similarity(FEATURES, cast(INDEX)),
    "group_budget": lambda cast: F.group_budget(SCORES, cast(MODALITY * 9), cast(TOTALS[0]), cast(ROWS), minimum=1),
    "compact": lambda cast: F.compact(SCORES > 0.5, cast(INDEX))[0].long(),
    "merge_rows": lambda cast: F.merge_rows(FEATURES, cast(INDEX // 3), cast(INDEX), SCORES),
    "layout_select": lambda cast: layout(cast).select(SCORES > 0.5).position.long(),
    "layout_rows": lambda cast: plain(cast).rows(),
    "run_windows": lambda cast: run_windows(plain(cast)),
    "diversity_selector": lambda cast: DiversitySelector({"video": 0.4, "image": 0.3}, weighted=False)(
        FEATURES, layout(cast)
    ),
    "diversity_selector_plain": lambda cast: DiversitySelector(0.4, weighted=False)(FEATURES, plain(cast)),
    "window_budget_allocator": lambda cast: WindowBudgetAllocator()(SCORES, layout(cast), 0.4),
    "stage_pruner": lambda cast: StagePruner(0.4)(SCORES, layout(cast)),
    "stage_pruner_runs": lambda cast: StagePruner({"audio": 0.4}, windows="runs")(SCORES, layout(cast)),
    "modality_dropper": lambda cast: ModalityDropper(("audio",))(layout(cast)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_same_as_int64(dtype: torch.dtype, name: str) -> None:
    call = CALLS[name]
    got, expected = call(lambda ids: ids.to(dtype)), call(lambda ids: ids)
    assert got.dtype == expected.dtype
    assert torch.equal(got, expected)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32])
def test_tokens_outside_all_segments(dtype: torch.dtype) -> None:
    segment = torch.tensor([-1, 0, 0, -1, 1], dtype=dtype)
    kept = F.segment_topk(torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4]), segment, torch.tensor([1, 0], dtype=dtype))
    assert kept.tolist() == [True, False, True, True, False]


def test_counts_beyond_int64_keep_everything() -> None:
    """They are no negative numbers."""
    huge, zeros = torch.tensor([2**64 - 1, 2**63], dtype=torch.uint64), torch.zeros(9, dtype=torch.uint64)
    assert bool(F.segment_topk(SCORES[:9], zeros, huge).all())
    assert bool(F.max_min_diversity(FEATURES[:9], torch.tensor([0, 4, 9]), huge).all())
    assert bool(F.greedy_dpp(FEATURES[:9], torch.tensor([0, 4, 9]), huge).all())
    budget = F.window_budget(SCORES[:9], torch.ones_like(PLACE[:9]), zeros, huge[None], num_windows=1, temperature=0.1)
    assert budget.tolist() == [[9, 0]]
    with pytest.raises(ValueError, match="segment: expected ids"):
        F.segment_topk(SCORES[:2], huge, huge)
