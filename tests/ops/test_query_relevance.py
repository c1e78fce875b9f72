"""query_relevance against the authors' numbers and a dense float64 softmax."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import BackendUnavailable
from seats_ops import functional as F
from seats_ops.testing import packed_offsets
from seats_ops.testing.golden import GoldenCase, golden_cases
from seats_ops.testing.recorded_query import query_and_key
from seats_ops.testing.strategies import id_dtypes, seeds, segment_lengths, value_dtypes


@pytest.mark.parametrize(
    "case", golden_cases(Path(__file__).parents[1] / "golden", "query_scores"), ids=lambda case: case.name
)
def test_golden(case: GoldenCase) -> None:
    stored = case.tensors()
    query, key = query_and_key(case)
    assert case.params["query_position"] == int(torch.nonzero(stored["text_mask"]).max())

    scores = F.query_relevance(query, key)

    torch.testing.assert_close(scores, stored["scores"], rtol=0, atol=1e-6)
    assert torch.equal(F.query_relevance(query, key, packed_offsets([len(scores)])), scores)


def dense(query: Tensor, key: Tensor, lengths: list[int], scale: float) -> Tensor:
    rows = []
    for q, k in zip(query.double(), key.double().split(lengths), strict=True):
        group = query.shape[1] // key.shape[1]
        per_head = [torch.softmax(scale * (k[:, h // group] @ q[h]), dim=0) for h in range(query.shape[1])]
        rows.append(torch.stack(per_head).mean(0))
    return torch.cat(rows) if rows else torch.zeros(0, dtype=torch.float64)


def random_heads(
    lengths: list[int], kv: int, group: int, dim: int, seed: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    query = torch.randn(len(lengths), kv * group, dim, generator=random)
    key = torch.randn(sum(lengths), kv, dim, generator=random)
    return (2 * query).to(dtype), key.to(dtype)


@settings(max_examples=60)
@given(segment_lengths(max_length=60), st.integers(1, 3), st.integers(1, 4), seeds(), value_dtypes(), id_dtypes())
def test_matches_dense_softmax(
    lengths: list[int], kv: int, group: int, seed: int, dtype: torch.dtype, ids: torch.dtype
) -> None:
    query, key = random_heads(lengths, kv, group, 12, seed, dtype)

    scores = F.query_relevance(query, key, packed_offsets(lengths, ids))

    assert scores.dtype == torch.float32 and scores.shape == (sum(lengths),)
    torch.testing.assert_close(scores, dense(query, key, lengths, 12**-0.5).float(), rtol=1e-5, atol=1e-6)
    for part in scores.split(lengths) if lengths else ():
        assert len(part) == 0 or float(part.sum()) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("length", [255, 1024, 4097])
def test_long_prompts_and_scale(length: int) -> None:
    query, key = random_heads([length, 3], 2, 2, 8, seed=length, dtype=torch.float32)
    scores = F.query_relevance(query, key, packed_offsets([length, 3]), scale=0.5, max_seqlen=length)
    torch.testing.assert_close(scores, dense(query, key, [length, 3], 0.5).float(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("lengths", [[], [0], [0, 0], [1], [0, 2, 0, 1]])
def test_unusual_sizes(lengths: list[int]) -> None:
    query, key = random_heads(lengths, 2, 2, 4, seed=0, dtype=torch.float32)
    scores = F.query_relevance(query, key, packed_offsets(lengths))
    torch.testing.assert_close(scores, dense(query, key, lengths, 0.5).float())


def test_no_tokens_without_offsets() -> None:
    assert F.query_relevance(torch.ones(1, 2, 4), torch.ones(0, 2, 4)).shape == (0,)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_values_stay_in_their_prompt(bad: float) -> None:
    query, key = random_heads([5, 6, 7], 2, 2, 4, seed=3, dtype=torch.float32)
    cu_seqlens = packed_offsets([5, 6, 7])
    clean = F.query_relevance(query, key, cu_seqlens)
    key[7, 0, 1] = bad
    got = F.query_relevance(query, key, cu_seqlens)
    torch.testing.assert_close(got[:5], clean[:5])
    torch.testing.assert_close(got[11:], clean[11:])
    torch.testing.assert_close(got, F.query_relevance(query, key, cu_seqlens), equal_nan=True, rtol=0, atol=0)
    if bad != bad:
        assert bool(got[5:11].isnan().all())


def test_memory_layout_max_seqlen_and_inputs() -> None:
    query, key = random_heads([5, 0, 7], 2, 2, 4, seed=4, dtype=torch.float32)
    cu_seqlens = packed_offsets([5, 0, 7])
    before = [x.clone() for x in (query, key, cu_seqlens)]

    scores = F.query_relevance(query, key, cu_seqlens)

    strided = [x.permute(1, 2, 0).contiguous().permute(2, 0, 1) for x in (query, key)]
    torch.testing.assert_close(F.query_relevance(*strided, cu_seqlens), scores, rtol=1e-6, atol=1e-7)
    for max_seqlen in (7, 12, 400):
        again = F.query_relevance(query, key, cu_seqlens, max_seqlen=max_seqlen)
        torch.testing.assert_close(again, scores, rtol=1e-6, atol=1e-7)
    assert torch.equal(F.query_relevance(query, key, cu_seqlens, backend="reference"), scores)
    for tensor, copy in zip((query, key, cu_seqlens), before, strict=True):
        assert torch.equal(tensor, copy)


VALID: dict[str, Any] = {
    "query": torch.ones(2, 4, 8),
    "key": torch.ones(6, 2, 8),
    "cu_seqlens": torch.tensor([0, 2, 6], dtype=torch.int32),
}
BAD = [
    ("query", torch.ones(4, 8), ValueError),
    ("query", torch.ones(2, 4, 8, dtype=torch.int64), TypeError),
    ("query|cu_seqlens", {"query": torch.ones(3, 4, 8)}, ValueError),
    ("query|key", {"query": torch.ones(2, 3, 8)}, ValueError),
    ("key", torch.ones(6, 16), ValueError),
    ("key", torch.ones(6, 2, 7), ValueError),
    ("key", torch.ones(6, 2, 8, dtype=torch.float16), TypeError),
    ("key", torch.ones(6, 2, 8, device="meta"), ValueError),
    ("query|cu_seqlens", {"cu_seqlens": None}, ValueError),
    ("query|cu_seqlens", {"cu_seqlens": torch.tensor([0, 2, 4, 6])}, ValueError),
    ("cu_seqlens", torch.tensor([0, 8, 6]), ValueError),
    ("cu_seqlens", torch.tensor([1, 2, 6]), ValueError),
    ("cu_seqlens", torch.tensor([0, 2, 7]), ValueError),
    ("cu_seqlens", torch.tensor([0.0, 2.0, 6.0]), TypeError),
    ("max_seqlen", 3, ValueError),
    ("scale", float("inf"), ValueError),
    ("backend", "gpu", ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_bad_arguments_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        F.query_relevance(**{**VALID, **(value if isinstance(value, dict) else {name: value})})


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs kernels on CPU tensors")
def test_triton_is_refused_on_cpu_tensors() -> None:
    with pytest.raises(BackendUnavailable, match="triton"):
        F.query_relevance(**VALID, backend="triton")
