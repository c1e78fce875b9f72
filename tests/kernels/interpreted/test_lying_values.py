"""Values of device tensors are not validated: whatever they hold, kernels stay inside their buffers.

Called below the public functions, which refuse such values of CPU tensors. Every access is watched (`session.py`), and
what nobody wrote is NaN or the largest number.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seats_ops.ops.attention_received.triton import attention_received
from seats_ops.ops.compact.triton import gather, kept_index
from seats_ops.ops.dpc_knn.triton import dpc_knn
from seats_ops.ops.greedy_dpp.triton import greedy_dpp
from seats_ops.ops.group_budget.triton import group_budget
from seats_ops.ops.max_min_diversity import triton as diversity
from seats_ops.ops.merge_rows.reference import merge_rows as merge_rows_reference
from seats_ops.ops.merge_rows.triton import merge_rows
from seats_ops.ops.query_relevance.triton import query_relevance
from seats_ops.ops.segment_topk.triton import segment_topk
from seats_ops.ops.temporal_similarity.triton import temporal_similarity
from seats_ops.ops.window_budget.triton import window_budget
from seats_ops.testing.memory import bounds_only

TOTAL = 60
HUGE = 2**40
OFFSETS = {
    "longer than said": [0, 60, 60],
    "all longer than said": [0, 30, 60],
    "falling": [60, 20, 0],
    "negative": [-30, 20, 60],
    "beyond the end": [0, 59, 100],
    "far beyond": [HUGE, HUGE + 1, 2 * HUGE],
    "far before": [-2 * HUGE, -HUGE, HUGE],
    "overlapping": [50, 10, 55],
    "the ends of int64": [-(2**63), 2**63 - 1, -(2**63)],
}
offsets_that_lie = pytest.mark.parametrize("offsets", OFFSETS.values(), ids=OFFSETS.keys())


@pytest.fixture(autouse=True)
def lies_may_meet() -> Iterator[None]:
    with bounds_only():
        yield


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@offsets_that_lie
def test_attention_received(offsets: list[int]) -> None:
    heads, given = normal(TOTAL, 1, 16), torch.tensor(offsets)
    attention_received(heads, heads, given, None, 0.25, 16)
    attention_received(heads, heads, given, torch.zeros(1, TOTAL), 0.25, 16)


@offsets_that_lie
def test_query_relevance(offsets: list[int]) -> None:
    query_relevance(normal(2, 2, 16), normal(TOTAL, 1, 16), torch.tensor(offsets), 0.25, 16)


@offsets_that_lie
@pytest.mark.parametrize("matrix", [4096, 4], ids=["matrix", "too long for a matrix"])
def test_max_min_diversity(offsets: list[int], matrix: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diversity, "MAX_MATRIX", matrix)
    features, given = normal(TOTAL, 8), torch.tensor(offsets)
    for counts in ([5, 100], [-1, HUGE]):
        diversity.max_min_diversity(features, given, torch.tensor(counts), None, None, 16, 3, "spread")
        diversity.max_min_diversity(features, given, torch.tensor(counts), normal(TOTAL), None, 16, 3, "weight")


@offsets_that_lie
def test_dpc_knn(offsets: list[int]) -> None:
    options = (3, "euclidean", False, True, None, normal(TOTAL, 2), 0.2, None, 16)
    dpc_knn(normal(TOTAL, 8), torch.tensor(offsets), *options)


@pytest.mark.parametrize("entries", [[-1, 60], [HUGE, -HUGE], [-(2**63), 2**63 - 1]], ids=str)
def test_an_index_that_names_no_row_to_dpc_knn(entries: list[int]) -> None:
    """Counts as the first or the last row, whichever is nearer: a copy of it."""
    index = torch.arange(20)
    index[[3, 7]] = torch.tensor(entries)
    options = (2, "euclidean", True, True, None, None, 0.0)
    scores = dpc_knn(normal(TOTAL, 8), torch.tensor([0, 20]), *options, index, 20)
    again = dpc_knn(normal(TOTAL, 8), torch.tensor([0, 20]), *options, index.clamp(0, TOTAL - 1), 20)
    assert torch.equal(scores, again)


@offsets_that_lie
def test_greedy_dpp(offsets: list[int]) -> None:
    features, given, quality = normal(TOTAL, 8), torch.tensor(offsets), normal(TOTAL)
    for counts in ([5, 100], [-1, HUGE]):
        greedy_dpp(features, given, torch.tensor(counts), quality, None, 16, 3)


@pytest.mark.parametrize("entries", [[-1, 60], [HUGE, -HUGE], [-(2**63), 2**63 - 1]], ids=str)
def test_an_index_that_names_no_row_of_a_process(entries: list[int]) -> None:
    """Counts as a row of zeros, which has no variance: it is kept when nothing else has any."""
    features, index = torch.eye(4)[[0, 0, 0, 1]].repeat(15, 1), torch.arange(20)
    index[[1, 7]] = torch.tensor(entries)
    counts = torch.tensor([4])
    keep = greedy_dpp(features, torch.tensor([0, 20]), counts, None, index, 20, 4)
    assert keep.nonzero().flatten().tolist() == [0, 1, 2, 3]


def test_qualities_below_zero_count_as_zero() -> None:
    quality = torch.tensor([-5.0, 1.0, float("-inf"), 2.0])
    keep = greedy_dpp(torch.eye(4), torch.tensor([0, 4]), torch.tensor([3]), quality, None, 4, 3)
    assert keep.tolist() == [True, True, False, True]


@pytest.mark.parametrize("most", [4096, 8], ids=["matrix", "long window"])
@pytest.mark.parametrize("entries", [[-1, 60], [HUGE, -HUGE], [-(2**63), 2**63 - 1]], ids=str)
def test_an_index_that_names_no_row(entries: list[int], most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts as a row of zeros, at distance 1 from everything; in a long window as some row."""
    monkeypatch.setattr(diversity, "MAX_MATRIX", most)
    features, index = torch.eye(4)[[0, 0, 0, 1]].repeat(15, 1), torch.arange(20)
    index[[3, 7]] = torch.tensor(entries)
    counts = torch.tensor([4])
    keep = diversity.max_min_diversity(features, torch.tensor([0, 20]), counts, None, index, 20, 4, "spread")
    assert keep.sum() == 4 if most < 20 else keep.nonzero().flatten().tolist() == [0, 3, 7, 11]


def test_scores_of_a_prompt_that_is_longer_than_said() -> None:
    """Parts that nobody wrote are not read: what fits is a softmax of its own."""
    key = normal(2000, 1, 64)
    scores = query_relevance(normal(1, 1, 64), key, torch.tensor([0, 2000]), 0.125, 70)
    logits = key[:, 0] @ normal(1, 1, 64)[0, 0] * 0.125
    fits = int((~scores.isnan()).sum())
    assert 70 <= fits < 2000
    torch.testing.assert_close(scores[:fits], logits[:fits].softmax(0), rtol=1e-5, atol=1e-6)


def test_saliency_of_a_segment_that_is_longer_than_said() -> None:
    heads = normal(200, 1, 16)
    saliency = attention_received(heads, heads, torch.tensor([0, 200]), None, 0.25, 70)
    expected = (heads[:70, 0] @ heads[:70, 0].T * 0.25).softmax(-1).sum(0)
    torch.testing.assert_close(saliency[:70], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kept", [[], [0], [3, 9, 1500], list(range(2000))], ids=len)
@pytest.mark.parametrize("num_kept", [0, 1, 3, 2000])
def test_a_wrong_number_of_kept_tokens(kept: list[int], num_kept: int) -> None:
    mask = torch.zeros(2000, dtype=torch.bool)
    mask[kept] = True
    index = kept_index(mask, num_kept)
    assert index.tolist() == (kept + [-1] * num_kept)[:num_kept]
    (rows,) = gather(index, [torch.arange(1, 2001)], 0)
    assert rows.tolist() == [token + 1 if token >= 0 else 0 for token in index.tolist()]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64], ids=str)
def test_a_gathered_row_that_does_not_exist(dtype: torch.dtype) -> None:
    index = torch.tensor([0, 2, 3, torch.iinfo(dtype).min, torch.iinfo(dtype).max]).to(dtype)
    tensors = [normal(3, 5), torch.arange(3.0), normal(2, 3, 4).bfloat16().transpose(0, 1).contiguous()]
    for got, source in zip(gather(index, tensors, 0), tensors, strict=True):
        assert torch.equal(got[1], source[2])
        assert bool((got[2] == 0).all() and (got[4] == 0).all())


@pytest.mark.parametrize("ids", [[5, -7, 0, HUGE], [-(2**63), 2**63 - 1, 1, 3]], ids=str)
@pytest.mark.parametrize("budget", [[1, -1, HUGE], [-HUGE, 2**63 - 1, 0]], ids=str)
def test_segment_topk(ids: list[int], budget: list[int]) -> None:
    segment = torch.tensor(ids).repeat(20)
    keep = segment_topk(normal(80), segment, torch.tensor(budget))
    assert keep[segment < 0].all() and not keep[segment >= 3].any()


@pytest.mark.parametrize(
    "partner", [[3, -2, 0, HUGE], [TOTAL, -(2**63), 2**63 - 1, -HUGE], [2**32, 59, -1, 60]], ids=str
)
def test_a_partner_that_names_no_row(partner: list[int]) -> None:
    """Counts as none."""
    ids = torch.tensor(partner).repeat(TOTAL // 4)
    similarity = temporal_similarity(normal(TOTAL, 8), ids, 7.0, 1e-8)
    assert torch.equal(similarity == 7.0, (ids < 0) | (ids >= TOTAL))


@pytest.mark.filterwarnings("ignore:overflow encountered")
@offsets_that_lie
@pytest.mark.parametrize("temperature", [None, 0.7])
def test_group_budget(offsets: list[int], temperature: float | None) -> None:
    """Ends, and inside its tensors."""
    lengths = torch.tensor([-HUGE, 2**63 - 1, -(2**63), 3, HUGE, 0]).repeat(TOTAL // 6)
    huge, largest = [-HUGE, HUGE], [-(2**63), 2**63 - 1]
    for scores, totals in (
        (-normal(TOTAL).abs(), huge), (normal(TOTAL) * 1e38, largest), (torch.ones(TOTAL), huge[::-1]),
    ):  # fmt: skip
        group_budget(scores, lengths, torch.tensor(totals), torch.tensor(offsets), temperature, 2, 16)


@pytest.mark.parametrize("offsets", [[0, 3, 9], [-4, 2, 5], [5, 0, 5], [-HUGE, HUGE, HUGE], [0, 5, 2**63 - 1]], ids=str)
@pytest.mark.parametrize("kinds", [1, 2])
def test_window_budget(offsets: list[int], kinds: int) -> None:
    token = torch.arange(60)
    window = torch.where(token % 7 == 0, HUGE, token // 10 - 1)
    totals = torch.tensor([[-HUGE, 4], [2**63 - 1, 2**63 - 1]])
    window_budget(normal(60), token % kinds + 1, window, totals, 5, 0.1, torch.tensor(offsets))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("own", [False, True])
def test_triples_that_name_no_row(dtype: torch.dtype, own: bool) -> None:
    """They count as none; coefficients that are not finite stay with their row."""
    low, high = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    target = torch.tensor([0, high, 1, low, 3, 4, 2]).to(dtype)
    source = torch.tensor([1, 0, high, 2, 4, 3, low]).to(dtype)
    coefficient = torch.tensor([1.0, 1.0, 1.0, 1.0, float("nan"), 2.0, 1.0])
    given = normal(4, 9), target, source, coefficient, torch.tensor([True, False, False, True]) if own else None
    got, expected = merge_rows(*given), merge_rows_reference(*given)
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)
    # Where zero is the least number, it names a row.
    assert low == 0 or torch.equal(got[1], torch.zeros(9) if own else given[0][1])


@given(st.lists(st.integers(-100, 160), min_size=3, max_size=6), st.integers(0, 80), st.integers(0, 4))
def test_any_offsets(offsets: list[int], max_seqlen: int, max_keep: int) -> None:
    given, segments = torch.tensor(offsets), len(offsets) - 1
    features, counts = normal(TOTAL, 8), torch.tensor(offsets[1:])
    attention_received(features[:, None], features[:, None], given, None, 0.5, max_seqlen)
    query_relevance(normal(segments, 1, 8), features[:, None], given, 0.5, max_seqlen)
    diversity.max_min_diversity(features, given, counts, None, None, max_seqlen, max_keep, "spread")
    greedy_dpp(features, given, counts, None, None, max_seqlen, max_keep)
