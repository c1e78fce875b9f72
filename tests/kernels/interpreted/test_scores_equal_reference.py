"""attention_received, query_relevance and temporal_similarity, kernel and reference measured against float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import functional as F
from seats_ops.testing import packed_offsets
from seats_ops.testing.interpreter import program_order
from seats_ops.testing.strategies import id_dtypes, seeds, segment_lengths, value_dtypes
from tests.kernels.interpreted.accuracy import assert_as_accurate

channels = st.sampled_from([1, 8, 16, 24, 64, 80, 128])


def normal(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def exact_received(query: Tensor, key: Tensor, lengths: list[int], scale: float) -> Tensor:
    parts = [torch.zeros(0, dtype=torch.float64)]
    for q, k in zip(query.double().split(lengths), key.double().split(lengths), strict=True):
        parts.append(torch.softmax(scale * torch.einsum("qhd,khd->hqk", q, k), dim=-1).mean(0).sum(0))
    return torch.cat(parts)


def exact_relevance(query: Tensor, key: Tensor, lengths: list[int], scale: float) -> Tensor:
    parts = [torch.zeros(0, dtype=torch.float64)]
    group = query.shape[1] // key.shape[1]
    for q, k in zip(query.double(), key.double().split(lengths), strict=True):
        logits = scale * torch.einsum("hd,khd->hk", q, k.repeat_interleave(group, dim=1))
        parts.append(torch.softmax(logits, dim=-1).mean(0))
    return torch.cat(parts)


def exact_similarity(features: Tensor, partner: Tensor, missing: float, eps: float) -> Tensor:
    x, y = features.double(), features.double()[partner.long().clamp(min=0)]
    cosine = (x * y).sum(1) / ((x.norm(dim=1) + eps) * (y.norm(dim=1) + eps))
    return torch.where(partner < 0, missing, cosine)


@given(segment_lengths(max_length=70), st.integers(1, 2), channels, seeds(), value_dtypes(), id_dtypes())
def test_attention_received(
    lengths: list[int], heads: int, dim: int, seed: int, dtype: torch.dtype, ids: torch.dtype
) -> None:
    query, key = (normal((sum(lengths), heads, dim), seed + i, dtype) for i in range(2))
    offsets = packed_offsets(lengths, ids)
    assert_as_accurate(
        F.attention_received(query, key, offsets),
        F.attention_received(query, key, offsets, backend="reference"),
        exact_received(query, key, lengths, dim**-0.5),
    )


@given(
    segment_lengths(min_segments=1, max_length=80),
    st.integers(1, 2),
    st.integers(1, 3),
    channels,
    seeds(),
    value_dtypes(),
)
def test_query_relevance(
    lengths: list[int], key_heads: int, group: int, dim: int, seed: int, dtype: torch.dtype
) -> None:
    query = normal((len(lengths), key_heads * group, dim), seed, dtype)
    key = normal((sum(lengths), key_heads, dim), seed + 1, dtype)
    offsets = packed_offsets(lengths)
    assert_as_accurate(
        F.query_relevance(query, key, offsets),
        F.query_relevance(query, key, offsets, backend="reference"),
        exact_relevance(query, key, lengths, dim**-0.5),
    )


@given(st.integers(1, 70), channels, st.sampled_from([1e-8, 1e-6, 0.5]), seeds(), value_dtypes(), id_dtypes())
def test_temporal_similarity(total: int, dim: int, eps: float, seed: int, dtype: torch.dtype, ids: torch.dtype) -> None:
    features = normal((total, dim), seed, dtype)
    features[::5] = 0
    partner = torch.randint(-1, total, (total,), generator=torch.Generator().manual_seed(seed)).to(ids)
    assert_as_accurate(
        F.temporal_similarity(features, partner, missing=2.0, eps=eps),
        F.temporal_similarity(features, partner, missing=2.0, eps=eps, backend="reference"),
        exact_similarity(features, partner, 2.0, eps),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("dim", [1, 24, 300])
def test_a_pair_has_one_similarity_wherever_it_stands(dim: int, dtype: torch.dtype) -> None:
    """In either order, at any place: to the last bit."""
    row = torch.arange(61) % 2
    features, partner = normal((2, dim), 5, dtype)[row], torch.where(row == 0, 59, 30)
    assert len(set(F.temporal_similarity(features, partner).tolist())) == 1


@pytest.mark.parametrize("dim", [64, 80])
def test_a_precomputed_logsumexp_gives_the_same(dim: int) -> None:
    lengths = [37, 0, 70]
    query, key = (normal((107, 2, dim), i, torch.float32) for i in range(2))
    parts = zip(query.split(lengths), key.split(lengths), strict=True)
    logsumexp = torch.cat([torch.einsum("qhd,khd->hqk", q, k).mul(dim**-0.5).logsumexp(-1) for q, k in parts], dim=1)
    offsets = packed_offsets(lengths)
    given_it = F.attention_received(query, key, offsets, logsumexp=logsumexp)
    torch.testing.assert_close(given_it, F.attention_received(query, key, offsets), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_realistic_window(dtype: torch.dtype) -> None:
    """A video window of the vision tower (330 patches, 80 channels) and the ragged rest of a clip."""
    lengths = [330, 103]
    query, key = (normal((sum(lengths), 1, 80), i, dtype) for i in range(2))
    offsets = packed_offsets(lengths)
    assert_as_accurate(
        F.attention_received(query, key, offsets),
        F.attention_received(query, key, offsets, backend="reference"),
        exact_received(query, key, lengths, 80**-0.5),
    )


@settings(max_examples=3)
@given(segment_lengths(min_segments=1, max_segments=3, max_length=70), seeds())
def test_the_order_of_programs_changes_no_bit(lengths: list[int], seed: int) -> None:
    key = normal((sum(lengths), 2, 24), seed, torch.bfloat16)
    query = normal((len(lengths), 4, 24), seed + 1, torch.bfloat16)
    offsets = packed_offsets(lengths)
    results = []
    for order in ("forward", "reversed", "shuffled"):
        with program_order(order, seed):
            scores = F.attention_received(key, key, offsets), F.query_relevance(query, key, offsets)
            results.append((*scores, F.temporal_similarity(key[:, 0], torch.arange(len(key)) - 1)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))
