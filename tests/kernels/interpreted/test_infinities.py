"""Infinite and NaN values in the kernels: what softmax and cosine give where they are finite, NaN elsewhere."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seats_ops import functional as F
from seats_ops.testing import packed_offsets

INF, NAN = float("inf"), float("nan")
LENGTHS = [3, 70, 0, 9]
START, LENGTH, TOTAL = 3, 70, 82


def heads(bad: dict[int, float]) -> tuple[Tensor, Tensor]:
    """Queries that point away from channel 0 of the keys, so that an infinite key there has a logit of -inf."""
    random = torch.Generator().manual_seed(0)
    query, key = torch.rand(TOTAL, 1, 4, generator=random), torch.rand(TOTAL, 1, 4, generator=random)
    query[:, :, 0] = -1.0
    for token, value in bad.items():
        key[START + token, 0, 0] = value
    return query, key


def softmax(query: Tensor, key: Tensor) -> Tensor:
    """[q, d], [k, d] -> [q, k] in plain arithmetic: exp(-inf) is 0, whatever comes first."""
    power = (query.double() @ key.double().T * 0.5).exp()
    return power / power.sum(1, keepdim=True)


MINUS_INF = {
    "the first block": dict.fromkeys(range(40), INF),
    "the first key": {0: INF},
    "a block in the middle": dict.fromkeys(range(32, 64), INF),
    "all but the last key": dict.fromkeys(range(69), INF),
}


@pytest.mark.parametrize("bad", MINUS_INF.values(), ids=MINUS_INF.keys())
def test_keys_whose_logits_are_minus_infinity(bad: dict[int, float]) -> None:
    query, key = heads(bad)
    received = F.attention_received(query, key, packed_offsets(LENGTHS), scale=0.5, backend="triton")
    scores = F.query_relevance(query[[0, START, 3, 4]], key, packed_offsets(LENGTHS), scale=0.5, backend="triton")
    here = slice(START, START + LENGTH)
    exact = softmax(query[here, 0], key[here, 0])
    torch.testing.assert_close(received[here].double(), exact.sum(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores[here].double(), exact[0], rtol=1e-5, atol=1e-6)
    assert received.isfinite().all() and scores.isfinite().all()


def test_parts_of_a_long_prompt_whose_logits_are_minus_infinity() -> None:
    """Parts are combined in blocks of 64: none of the first two blocks has a finite maximum."""
    random = torch.Generator().manual_seed(1)
    key = torch.rand(2300, 1, 256, generator=random)
    key[:2100, 0, 0] = INF
    query = torch.full((1, 1, 256), 0.01)
    query[0, 0, 0] = -1.0
    scores = F.query_relevance(query, key, scale=1.0, backend="triton")
    exact = softmax(query[0], key[:, 0] * 2)
    assert bool((scores[:2100] == 0).all())
    torch.testing.assert_close(scores[2100:].double(), exact[0, 2100:], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("bad", [{0: NAN}, {69: NAN}, {35: -INF}, {0: -INF, 50: INF}, dict.fromkeys(range(70), INF)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_other_keys_leave_their_segment_undefined_and_no_other(bad: dict[int, float], dtype: torch.dtype) -> None:
    """A logit of +inf or NaN, or nothing but -inf."""
    query, key = (x.to(dtype) for x in heads(bad))
    clean = heads({})[1].to(dtype)
    offsets, rows = packed_offsets(LENGTHS), [0, START, 3, START + LENGTH]
    for call in (
        lambda k: F.attention_received(query, k, offsets, backend="triton"),
        lambda k: F.query_relevance(query[rows], k, offsets, backend="triton"),
    ):
        got, expected = call(key), call(clean)
        expected[START : START + LENGTH] = NAN
        assert torch.equal(got.nan_to_num(-1.0), expected.nan_to_num(-1.0))


@pytest.mark.parametrize("temperature", [1e-3, 1e-12, 1e-30])
def test_scores_that_overflow_over_a_small_temperature(temperature: float) -> None:
    """The best window is kept whole, the others keep one token of each modality, whatever the quotients are."""
    window = torch.arange(24) // 8
    scores = torch.where(window == 1, INF, torch.where(window == 0, -INF, 1.0))
    totals, modality = torch.tensor([[6, 5]]), torch.tensor([1, 2] * 12)
    for backend in ("triton", "reference"):
        budgets = F.window_budget(
            scores, modality, window, totals, num_windows=3, temperature=temperature, backend=backend
        )
        assert budgets.tolist() == [[1, 1], [4, 4], [1, 1]]


def test_a_huge_key_of_a_prompt() -> None:
    """The product fits float32 once the query is scaled, and not before."""
    key, query = torch.ones(40, 1, 16), torch.full((1, 1, 16), 0.2)
    key[3] = 3e38
    expected = torch.zeros(40)
    expected[3] = 1.0
    for backend in ("reference", "triton"):
        assert torch.equal(F.query_relevance(query, key, scale=0.25, backend=backend), expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
def test_similarity_of_a_row_without_a_finite_norm(bad: float) -> None:
    features = torch.tensor([[bad, 1.0], [0.0, 0.0], [1.0, 2.0], [2.0, 4.0], [bad, 0.0]])
    partner = torch.tensor([1, 0, 3, 2, -1])
    for missing in (5.0, math.inf, -math.inf):
        similarity = F.temporal_similarity(features, partner, missing=missing, backend="triton")
        expected = F.temporal_similarity(features, partner, missing=missing, backend="reference")
        assert expected.isnan().tolist() == [True, True, False, False, False]
        torch.testing.assert_close(similarity, expected, rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1e18])
def test_similarity_where_the_product_of_norms_is_no_float32(size: float) -> None:
    features = torch.tensor([[1.0, 2.0, 2.0], [2.0, 1.0, -2.0], [1.0, 2.0, 2.0]]) * torch.tensor(
        [[size], [1.0], [size]]
    )
    partner = torch.tensor([1, 0, 2])
    results = [
        F.temporal_similarity(features, partner, eps=1e-30, backend=backend) for backend in ("triton", "reference")
    ]
    assert bool(results[0].isfinite().all()) and results[0][0] == results[0][1]
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-7)
