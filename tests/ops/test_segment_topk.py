"""segment_topk against Python's stable sort."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import BackendUnavailable
from seats_ops import functional as F
from seats_ops.testing.strategies import id_dtypes, seeds, value_dtypes


def sorted_top(scores: Tensor, segment: Tensor, budget: Tensor) -> list[bool]:
    """Python's sort, -inf for NaN; `sorted` is stable, so equal scores stay in index order."""
    values = [-math.inf if math.isnan(s) else s for s in scores.float().tolist()]
    ids = segment.tolist()
    keep = [s == -1 for s in ids]
    for group, count in enumerate(budget.tolist()):
        members = [i for i, s in enumerate(ids) if s == group]
        for i in sorted(members, key=lambda i: -values[i])[:count]:
            keep[i] = True
    return keep


def random_scores(total: int, style: str, random: torch.Generator) -> Tensor:
    if style == "distinct":
        return torch.randperm(total, generator=random).float() - total / 2
    if style == "tied":
        return torch.randint(-1, 2, (total,), generator=random).float()
    special = torch.tensor([float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e-45, -1e-45, 3e38, 1.0])
    return special[torch.randint(len(special), (total,), generator=random)]


@settings(max_examples=150)
@given(
    st.integers(0, 60),
    st.integers(0, 6),
    st.sampled_from(["distinct", "tied", "special"]),
    seeds(),
    value_dtypes(),
    id_dtypes(),
)
def test_matches_a_stable_sort(
    total: int, groups: int, style: str, seed: int, dtype: torch.dtype, ids: torch.dtype
) -> None:
    random = torch.Generator().manual_seed(seed)
    scores = random_scores(total, style, random).to(dtype)
    segment = torch.randint(-1, max(groups, 0), (total,), generator=random).to(ids)
    budget = torch.randint(0, max(2, 2 * total // max(groups, 1)), (groups,), generator=random).to(ids)
    before = scores.clone(), segment.clone(), budget.clone()

    keep = F.segment_topk(scores, segment, budget)

    assert keep.dtype == torch.bool
    assert keep.tolist() == sorted_top(scores, segment, budget)
    torch.testing.assert_close((scores, segment, budget), before, rtol=0, atol=0, equal_nan=True)


def test_one_long_segment_among_many_short_ones() -> None:
    random = torch.Generator().manual_seed(0)
    segment = torch.cat([torch.zeros(5000), torch.arange(1, 400), torch.full((7,), -1)]).long()
    segment = segment[torch.randperm(len(segment), generator=random)]
    scores = torch.rand(len(segment), generator=random).mul(100).round()
    budget = torch.randint(0, 3, (400,), generator=random)
    budget[0] = 2345
    assert F.segment_topk(scores, segment, budget).tolist() == sorted_top(scores, segment, budget)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 100])
def test_equal_scores_keep_the_lowest_indices(count: int) -> None:
    keep = F.segment_topk(torch.zeros(5), torch.zeros(5, dtype=torch.int64), torch.tensor([count]))
    assert keep.tolist() == [i < count for i in range(5)]


def test_signed_zeros_are_equal_and_nan_comes_last() -> None:
    scores = torch.tensor([float("nan"), -0.0, 0.0, -0.0, float("-inf"), -1.0])
    segment = torch.zeros(6, dtype=torch.int64)
    kept = [F.segment_topk(scores, segment, torch.tensor([k])).nonzero().flatten().tolist() for k in range(7)]
    assert kept == [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 5], [0, 1, 2, 3, 5], [0, 1, 2, 3, 4, 5]]


def first_of(order: list[int], count: int, total: int) -> list[bool]:
    return [token in order[:count] for token in range(total)]


@settings(max_examples=60)
@given(st.integers(0, 40), st.sampled_from(["distinct", "tied", "special"]), seeds(), value_dtypes(), st.data())
def test_forced_members_come_first_and_are_counted(
    total: int, style: str, seed: int, dtype: torch.dtype, data: st.DataObject
) -> None:
    """By +inf. What is infinite by itself is as good as forced; of too many the first are kept."""
    scores = random_scores(total, style, torch.Generator().manual_seed(seed)).to(dtype)
    forced = [t for t in range(total) if data.draw(st.booleans()) or scores[t] == math.inf]
    values = [-math.inf if math.isnan(s) else s for s in scores.float().tolist()]
    rest = sorted(set(range(total)) - set(forced), key=lambda t: (-values[t], t))
    with_forced = scores.index_fill(0, torch.tensor(forced, dtype=torch.int64), math.inf)
    one_group, count = torch.zeros(total, dtype=torch.int64), data.draw(st.integers(0, total + 2))

    keep = F.segment_topk(with_forced, one_group, torch.tensor([count]))

    assert keep.tolist() == first_of(forced + rest, count, total)


@settings(max_examples=60)
@given(
    st.integers(0, 40), st.integers(0, 42), st.sampled_from(["distinct", "tied", "special"]), seeds(), value_dtypes()
)
def test_negated_scores_keep_the_lowest(total: int, count: int, style: str, seed: int, dtype: torch.dtype) -> None:
    """Of equal ones the first, and NaN last, as among the highest."""
    scores = random_scores(total, style, torch.Generator().manual_seed(seed)).to(dtype)
    values = [math.inf if math.isnan(s) else s for s in scores.float().tolist()]
    order = sorted(range(total), key=lambda t: (values[t], t))
    keep = F.segment_topk(-scores, torch.zeros(total, dtype=torch.int64), torch.tensor([count]))
    assert keep.tolist() == first_of(order, count, total)


@pytest.mark.parametrize("score", [math.inf, -math.inf])
def test_infinite_scores_of_a_whole_segment(score: float) -> None:
    """Neither is another's business, nor what their numbers are."""
    scores, segment = torch.full((9,), score), torch.arange(9) % 3
    scores[segment == 1] = 0.0
    kept = F.segment_topk(scores, segment, torch.tensor([2, 1, 0])).nonzero().flatten().tolist()
    assert kept == [0, 1, 3]


def test_tokens_outside_all_segments_are_kept_whatever_their_score() -> None:
    scores = torch.tensor([float("nan"), 9.0, float("-inf"), 1.0])
    keep = F.segment_topk(scores, torch.tensor([-1, 0, -1, 0]), torch.tensor([0]))
    assert keep.tolist() == [True, False, True, False]


def test_no_tokens_and_no_segments() -> None:
    empty, no_ids = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert F.segment_topk(empty, no_ids, no_ids).shape == (0,)
    assert F.segment_topk(empty, no_ids, torch.tensor([3, 0])).shape == (0,)
    assert F.segment_topk(torch.zeros(3), torch.full((3,), -1), no_ids).tolist() == [True] * 3


def test_non_contiguous_inputs() -> None:
    random = torch.Generator().manual_seed(1)
    scores, segment = torch.rand(40, generator=random), torch.randint(-1, 3, (40,), generator=random)
    budget = torch.tensor([4, 2, 30])
    strided = [x.repeat_interleave(3)[::3] for x in (scores, segment, budget)]
    assert not any(x.is_contiguous() for x in strided)
    assert torch.equal(F.segment_topk(*strided), F.segment_topk(scores, segment, budget))


VALID: dict[str, Any] = {
    "scores": torch.ones(4),
    "segment": torch.tensor([0, 1, -1, 1]),
    "budget": torch.tensor([1, 1]),
}
BAD = [
    ("scores", torch.ones(4, 1), ValueError),
    ("scores", torch.ones(4, dtype=torch.int64), TypeError),
    ("scores", [1.0] * 4, TypeError),
    ("segment", torch.tensor([0, 1, -1]), ValueError),
    ("segment", torch.tensor([0, 1, -1, 2]), ValueError),
    ("segment", torch.tensor([0, 1, -2, 1]), ValueError),
    ("segment", torch.tensor([0.0, 1.0, -1.0, 1.0]), TypeError),
    ("segment", torch.tensor([0, 1, -1, 1], device="meta"), ValueError),
    ("budget", torch.tensor([1, -1]), ValueError),
    ("budget", torch.tensor([[1, 1]]), ValueError),
    ("budget", torch.tensor([1.0, 1.0]), TypeError),
    ("budget", torch.tensor([1, 1], device="meta"), ValueError),
    ("backend", "sort", ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_bad_arguments_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        F.segment_topk(**{**VALID, name: value})


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs kernels on CPU tensors")
def test_triton_is_refused_on_cpu_tensors() -> None:
    with pytest.raises(BackendUnavailable, match="triton"):
        F.segment_topk(**VALID, backend="triton")
