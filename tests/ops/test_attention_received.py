"""attention_received against the authors' numbers and a dense float64 softmax."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from einops import rearrange, reduce
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import functional as F
from seats_ops.testing import packed_offsets
from seats_ops.testing.golden import GoldenCase, golden_cases
from seats_ops.testing.strategies import id_dtypes, seeds, segment_lengths, value_dtypes

FOLDER = Path(__file__).parents[1] / "golden"
TOLERANCE = 2e-6
"""float32 against float32 in another order of summation; the mean value is 1, a few windows hold values near 10."""


def windows(total: int, window: int) -> Tensor:
    """Consecutive windows of one size, the last one short."""
    return packed_offsets([min(window, total - start) for start in range(0, total, window)])


def dense(query: Tensor, key: Tensor, lengths: list[int], scale: float) -> Tensor:
    received = []
    for q, k in zip(query.double().split(lengths), key.double().split(lengths), strict=True):
        attention = torch.softmax(scale * torch.einsum("qhd,khd->hqk", q, k), dim=-1)
        received.append(attention.mean(0).sum(0))
    return torch.cat(received)


def random_heads(
    total: int, heads: int, dim: int, seed: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, total, heads, dim, generator=random).mul(1.5).to(dtype)
    return query, key


@pytest.mark.parametrize("case", golden_cases(FOLDER, "attention_received"), ids=lambda case: case.name)
def test_golden(case: GoldenCase) -> None:
    stored, sizes = case.tensors(), case.params
    query, key = (rearrange(stored[name], "h t d -> t h d") for name in "qk")

    saliency = F.attention_received(query, key, windows(sizes["tokens"], sizes["window"]))

    torch.testing.assert_close(saliency, stored["attn_mean"], rtol=TOLERANCE, atol=TOLERANCE)
    if "pooled" in stored:
        even = saliency[: len(saliency) // 2 * 2]
        pooled = reduce(even, "(t pair) -> t", "mean", pair=2)
        torch.testing.assert_close(pooled, stored["pooled"], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("case", golden_cases(FOLDER, "attention_received_encoder"), ids=lambda case: case.name)
def test_golden_through_an_encoder(case: GoldenCase) -> None:
    stored, sizes = case.tensors(), case.params
    query, key = (rearrange(stored[name], "h t d -> t h d") for name in "qk")

    saliency = F.attention_received(query, key, windows(sizes["tokens_pre_pool"], sizes["window"]))

    torch.testing.assert_close(saliency, stored["attn_mean_pre_pool"], rtol=TOLERANCE, atol=TOLERANCE)
    per_token = saliency
    if sizes["tower"] == "video":
        per_token = reduce(saliency, "(t unit) -> t", "mean", unit=sizes["spatial_merge_unit"])
        if "window_index" in stored:
            per_token = per_token[stored["window_index"].argsort()]
    elif sizes["family"] == "qwen2_5":
        per_token = reduce(saliency[: len(saliency) // 2 * 2], "(t pair) -> t", "mean", pair=2)
    torch.testing.assert_close(per_token, stored["attn_mean_per_token"], rtol=TOLERANCE, atol=TOLERANCE)


@settings(max_examples=60)
@given(
    segment_lengths(max_length=40), st.integers(1, 3), st.sampled_from([1, 8, 20]), seeds(), value_dtypes(), id_dtypes()
)
def test_matches_dense_softmax(
    lengths: list[int], heads: int, dim: int, seed: int, dtype: torch.dtype, ids: torch.dtype
) -> None:
    query, key = random_heads(sum(lengths), heads, dim, seed, dtype)

    saliency = F.attention_received(query, key, packed_offsets(lengths, ids))

    assert saliency.dtype == torch.float32
    expected = dense(query, key, lengths, dim**-0.5).float() if lengths else torch.zeros(0)
    torch.testing.assert_close(saliency, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [63, 64, 65, 127, 129, 257, 513, 1025, 2050])
def test_lengths_around_tile_edges(length: int) -> None:
    query, key = random_heads(length + 70, 2, 8, seed=length)
    lengths = [70, length]
    saliency = F.attention_received(query, key, packed_offsets(lengths))
    torch.testing.assert_close(saliency, dense(query, key, lengths, 8**-0.5).float(), rtol=1e-5, atol=1e-5)


@settings(max_examples=30)
@given(segment_lengths(min_segments=1, max_length=40), seeds())
def test_the_mean_of_a_segment_is_one(lengths: list[int], seed: int) -> None:
    query, key = random_heads(sum(lengths), 2, 8, seed)
    saliency = F.attention_received(query, key, packed_offsets(lengths))
    for part in saliency.split(lengths):
        assert float(part.sum()) == pytest.approx(len(part), rel=1e-5)


@settings(max_examples=30)
@given(st.integers(1, 40), seeds())
def test_order_of_queries_is_irrelevant_and_keys_carry_their_value(length: int, seed: int) -> None:
    query, key = random_heads(length, 2, 8, seed)
    permutation = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    cu_seqlens = packed_offsets([length])
    saliency = F.attention_received(query, key, cu_seqlens)
    shuffled_queries = F.attention_received(query[permutation], key, cu_seqlens)
    shuffled_keys = F.attention_received(query, key[permutation], cu_seqlens)
    torch.testing.assert_close(shuffled_queries, saliency, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(shuffled_keys, saliency[permutation], rtol=1e-5, atol=1e-5)


@settings(max_examples=20)
@given(segment_lengths(min_segments=2, max_length=40), seeds())
def test_packed_segments_equal_segments_alone(lengths: list[int], seed: int) -> None:
    query, key = random_heads(sum(lengths), 2, 8, seed)
    saliency = F.attention_received(query, key, packed_offsets(lengths))
    alone = [
        F.attention_received(q, k, packed_offsets([len(q)]))
        for q, k in zip(query.split(lengths), key.split(lengths), strict=True)
    ]
    torch.testing.assert_close(saliency, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_scale_is_used() -> None:
    query, key = random_heads(20, 2, 8, seed=0)
    saliency = F.attention_received(query, key, packed_offsets([20]), scale=0.7)
    torch.testing.assert_close(saliency, dense(query, key, [20], 0.7).float(), rtol=1e-5, atol=1e-5)
    uniform = F.attention_received(query, key, packed_offsets([20]), scale=0.0)
    torch.testing.assert_close(uniform, torch.ones(20))


def test_large_logits_do_not_overflow() -> None:
    query, key = random_heads(12, 2, 8, seed=5)
    saliency = F.attention_received(query * 200, key * 200, packed_offsets([12]))
    torch.testing.assert_close(saliency, dense(query * 200, key * 200, [12], 8**-0.5).float(), rtol=1e-5, atol=1e-5)
