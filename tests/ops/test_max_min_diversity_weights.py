"""Weights of either sign, and a first pick by weight alone, against literal greedy loops in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import functional as F
from seats_ops.ops.max_min_diversity.reference import max_min_order
from seats_ops.testing import assert_same_selection, certify_greedy, clustered_features, packed_offsets, tied_features
from seats_ops.testing.strategies import seeds, segment_lengths, value_dtypes
from tests.ops.greedy_oracle import brute_force, brute_force_mask, counts_for

INF, NAN, LARGEST = float("inf"), float("nan"), torch.finfo(torch.float32).max
firsts = st.sampled_from(["spread", "weight"])
signs = st.sampled_from(["mixed", "negative"])


def signed_weights(total: int, sign: str, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    weights = torch.randn(total, generator=random)
    return weights if sign == "mixed" else -weights.abs()


@settings(max_examples=60)
@given(segment_lengths(max_length=24), firsts, signs, seeds(), value_dtypes())
def test_matches_brute_force(lengths: list[int], first: str, sign: str, seed: int, dtype: torch.dtype) -> None:
    features = clustered_features(sum(lengths), 24, seed=seed)
    weights = signed_weights(sum(lengths), sign, seed).to(dtype)
    cu_seqlens, counts = packed_offsets(lengths), counts_for(lengths, seed)
    num_keep = torch.tensor(counts, dtype=torch.int64)

    keep = F.max_min_diversity(features, cu_seqlens, num_keep, weights=weights, first=first)

    expected, gaps = brute_force_mask(features, cu_seqlens, counts, weights, first=first)
    assert_same_selection(keep, expected, cu_seqlens, gap=gaps)
    certificate = certify_greedy(features, cu_seqlens, num_keep, keep, weights=weights, first=first)
    assert certificate, certificate.reason


@settings(max_examples=60)
@given(segment_lengths(max_length=16), firsts, signs, seeds(), st.integers(1, 8))
def test_exact_ties_go_to_the_lowest_index(lengths: list[int], first: str, sign: str, seed: int, kinds: int) -> None:
    """Weights of few values and distances of 0, 1 and 2: products are exact, and -0.0 ties with 0.0."""
    features = tied_features(sum(lengths), seed=seed, kinds=kinds)
    random = torch.Generator().manual_seed(seed)
    weights = torch.randint(-2, 0 if sign == "negative" else 3, (sum(lengths),), generator=random).float()
    cu_seqlens, counts = packed_offsets(lengths), counts_for(lengths, seed)

    keep = F.max_min_diversity(features, cu_seqlens, torch.tensor(counts).long(), weights=weights, first=first)

    expected, _ = brute_force_mask(features, cu_seqlens, counts, weights, np.float32, first)
    assert_same_selection(keep, expected, cu_seqlens)


@settings(max_examples=30)
@given(segment_lengths(min_segments=1, max_length=18), seeds())
def test_a_first_pick_by_weight_begins_every_window(lengths: list[int], seed: int) -> None:
    features, weights = clustered_features(sum(lengths), 16, seed=seed), signed_weights(sum(lengths), "mixed", seed)
    keep_two = torch.full((len(lengths),), 2)
    order = max_min_order(features, packed_offsets(lengths), keep_two, weights=weights, first="weight")
    for picks, part in zip(order.tolist(), weights.split(lengths), strict=True):
        assert not len(part) or picks[0] == int(part.argmax())


# A fan of directions: tokens 0 and 3 are the same, 1 is near them, 2 is far off.
FAN = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("weights", "kept"),
    [
        ([1.0, 2.0, 1.0, 3.0], [[3], [2, 3], [1, 2, 3]]),
        # Equal weights: the lowest index, whatever its distances.
        ([5.0, 5.0, 5.0, 5.0], [[0], [0, 2], [0, 1, 2]]),
        # NaN counts as 0, which is more than what is negative; 1 and 3 are near it, and so better than 2.
        ([NAN, -1.0, -2.0, -1.0], [[0], [0, 3], [0, 1, 3]]),
        ([-INF, -1.0, INF, 9.0], [[2], [2, 3], [0, 2, 3]]),
        # All of them as low as can be.
        ([-INF, -INF, -INF, -INF], [[0], [0, 3], [0, 1, 3]]),
    ],
)
def test_first_by_weight_by_hand(weights: list[float], kept: list[list[int]]) -> None:
    for count, expected in enumerate(kept, start=1):
        keep = F.max_min_diversity(
            FAN, packed_offsets([4]), torch.tensor([count]), weights=torch.tensor(weights), first="weight"
        )
        assert keep.nonzero().flatten().tolist() == expected


@pytest.mark.parametrize(
    ("weights", "kept"),
    [
        # Second-smallest distances: 0 for the twins, 0.005 for token 1, about 2 for token 2, which costs it the most.
        ([-1.0, -1.0, -1.0, -1.0], [[0], [0, 3], [0, 1, 3]]),
        # One positive token comes before all others, far or near.
        ([-1.0, 1.0, -1.0, -1.0], [[1], [0, 1], [0, 1, 3]]),
        ([-9.0, -1.0, 0.5, -9.0], [[2], [1, 2], [0, 1, 2]]),
    ],
)
def test_negative_weights_by_hand(weights: list[float], kept: list[list[int]]) -> None:
    for count, expected in enumerate(kept, start=1):
        keep = F.max_min_diversity(FAN, packed_offsets([4]), torch.tensor([count]), weights=torch.tensor(weights))
        assert keep.nonzero().flatten().tolist() == expected


@pytest.mark.parametrize(
    ("low", "first"), [(-1e-30, "spread"), (-1.0, "weight"), (-LARGEST, "weight"), (-INF, "spread")]
)
def test_negative_weights_keep_the_exact_count(first: str, low: float) -> None:
    features, weights = clustered_features(16, 8, seed=1), torch.full((16,), low)
    features[5] = NAN
    offsets = packed_offsets([11, 0, 5])
    for count in (0, 1, 4, 5, 10, 11, 12):
        keep = F.max_min_diversity(features, offsets, torch.tensor([count] * 3), weights=weights, first=first)
        assert [int(part.sum()) for part in keep.split([11, 5])] == [min(count, 11), min(count, 5)]


def adts(features: np.ndarray, weights: np.ndarray, count: int) -> list[int]:
    """FlashVID's ADTS v2 as released, in float64 (section 3.2): weights first, then the minimum, repeats allowed."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    weighted = (1.0 - unit @ unit.T) * weights[None, :]
    picks = [int(np.sort(weighted, axis=0)[1].argmax())]
    while len(picks) < count:
        picks.append(int(weighted[picks].min(axis=0).argmax()))
    return picks


@settings(max_examples=40)
@given(st.integers(2, 24), seeds())
def test_picks_of_adts_come_first(length: int, seed: int) -> None:
    """The release repeats itself once nothing scores above 0; until then its picks are ours."""
    features, weights = clustered_features(length, 16, seed=seed), signed_weights(length, "mixed", seed)
    assume(bool((weights > 0).any()))
    released = adts(features.double().numpy(), weights.double().numpy(), length)
    distinct = next((i for i in range(length) if released[i] in released[:i]), length)

    keep = F.max_min_diversity(features, packed_offsets([length]), torch.tensor([distinct]), weights=weights)

    expected = torch.zeros(length, dtype=torch.bool).index_fill(0, torch.tensor(released[:distinct]), True)
    assert_same_selection(keep, expected, gap=[brute_force(features, distinct, weights)[1]])
    assert bool((weights[released[:distinct]] > 0).all())


def omnipack(distance: np.ndarray, relevance: np.ndarray, count: int) -> list[int]:
    """Stage 2 of OmniPack, in float64: the most relevant token, then the farthest by min * (1 + relevance)."""
    picks = [int(relevance.argmax())]
    while len(picks) < count:
        score = distance[picks].min(axis=0) * (1.0 + relevance)
        score[picks] = -np.inf
        picks.append(int(score.argmax()))
    return picks


@settings(max_examples=40)
@given(st.integers(1, 24), seeds())
def test_a_factor_of_one_plus_relevance(length: int, seed: int) -> None:
    features = clustered_features(length, 16, seed=seed)
    random = torch.Generator().manual_seed(seed)
    relevance = torch.randint(0, 257, (length,), generator=random) / 256
    unit = features.double().numpy()
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    count = (length + 1) // 2
    expected = torch.zeros(length, dtype=torch.bool)
    expected[omnipack(1.0 - unit @ unit.T, relevance.double().numpy(), count)] = True
    arguments: tuple[Any, ...] = features, packed_offsets([length]), torch.tensor([count])

    keep = F.max_min_diversity(*arguments, weights=1 + relevance, first="weight")

    _, gaps = brute_force_mask(features, arguments[1], [count], 1 + relevance, first="weight")
    assert_same_selection(keep, expected, gap=gaps)
