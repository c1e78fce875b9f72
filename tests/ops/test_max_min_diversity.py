"""max_min_diversity against the authors' numbers, a brute-force greedy in NumPy and a float64 certificate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import functional as F
from seats_ops.ops.max_min_diversity.reference import max_min_order
from seats_ops.testing import (
    assert_same_selection,
    certify_greedy,
    clustered_features,
    near_constant_saliency,
    packed_offsets,
    tied_features,
)
from seats_ops.testing.golden import GoldenCase, golden_cases
from seats_ops.testing.strategies import id_dtypes, seeds, segment_lengths, value_dtypes

GOLDEN = golden_cases(Path(__file__).parents[1] / "golden", "diversity")
UNDECIDED = 0.0
DECIDED = float("inf")


def brute_force(features: Tensor, num_keep: int, weights: Tensor | None, dtype: type = np.float64) -> tuple[list, float]:
    """Picks of one window in order, and the smallest relative gap between a pick and its runner-up.

    A gap that a float32 cosine cannot resolve (1e-6) counts as none at all.
    """
    x = features.float().numpy().astype(dtype)
    n = len(x)
    w = np.ones(n, dtype) if weights is None else weights.float().numpy().astype(dtype)
    x = x / (np.linalg.norm(x, axis=1, keepdims=True) + dtype(1e-8))
    distance = dtype(1) - x @ x.T
    picks: list[int] = []
    smallest_gap = DECIDED
    for step in range(min(num_keep, n)):
        if step == 0:
            score = w * (np.sort(distance, axis=0)[1] if n > 1 else 1)
        else:
            score = w * distance[picks].min(axis=0)
        candidates = [j for j in range(n) if j not in picks]
        best = max(candidates, key=lambda j: (score[j], -j))
        others = [score[j] for j in candidates if j != best]
        if others:
            difference = score[best] - max(others) - 1e-6 * np.abs(w).max()
            smallest_gap = min(smallest_gap, float(difference) / max(abs(float(score[best])), 1e-300))
        picks.append(best)
    return picks, (DECIDED if num_keep >= n else max(smallest_gap, UNDECIDED))


def brute_force_mask(
    features: Tensor, cu_seqlens: Tensor, num_keep: list[int], weights: Tensor | None, dtype: type = np.float64
) -> tuple[Tensor, list[float]]:
    keep, gaps = torch.zeros(len(features), dtype=torch.bool), []
    bounds = cu_seqlens.tolist()
    for start, end, count in zip(bounds[:-1], bounds[1:], num_keep, strict=True):
        part = None if weights is None else weights[start:end]
        picks, gap = brute_force(features[start:end], count, part, dtype)
        keep[[start + j for j in picks]] = True
        gaps.append(gap)
    return keep, gaps


def counts_for(lengths: list[int], seed: int) -> list[int]:
    """Numbers to keep from 0 to a little above the window."""
    random = np.random.default_rng(seed)
    return [int(random.integers(0, n + 3)) for n in lengths]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.name)
def test_golden(case: GoldenCase) -> None:
    stored = case.tensors()
    windows, length, dim = stored["features"].shape
    expected = torch.zeros(windows, length, dtype=torch.bool).scatter(1, stored["keep"], True).flatten()
    features, cu_seqlens = stored["features"].reshape(-1, dim), packed_offsets([length] * windows)
    num_keep = torch.full((windows,), case.params["num_retained"])
    weights = stored["attention"].flatten() if "attention" in stored else None

    keep = F.max_min_diversity(features, cu_seqlens, num_keep, weights=weights)

    margins = case.entry.get("min_relative_margin_per_window", [DECIDED] * windows)
    assert_same_selection(keep, expected, cu_seqlens, gap=margins)
    certificate = certify_greedy(features, cu_seqlens, num_keep, keep, weights=weights)
    assert certificate, certificate.reason


@settings(max_examples=60)
@given(segment_lengths(max_length=24), seeds(), st.booleans())
def test_clusters_match_brute_force(lengths: list[int], seed: int, weighted: bool) -> None:
    features = clustered_features(sum(lengths), 24, seed=seed)
    weights = near_constant_saliency(sum(lengths), seed=seed) if weighted else None
    cu_seqlens, counts = packed_offsets(lengths), counts_for(lengths, seed)

    keep = F.max_min_diversity(features, cu_seqlens, torch.tensor(counts, dtype=torch.int64), weights=weights)

    expected, gaps = brute_force_mask(features, cu_seqlens, counts, weights)
    assert_same_selection(keep, expected, cu_seqlens, gap=gaps)


@settings(max_examples=40)
@given(segment_lengths(max_length=24), seeds(), value_dtypes(), id_dtypes())
def test_certificate_for_every_dtype(lengths: list[int], seed: int, dtype: torch.dtype, ids: torch.dtype) -> None:
    features = clustered_features(sum(lengths), 24, seed=seed, dtype=dtype)
    weights = near_constant_saliency(sum(lengths), seed=seed, dtype=dtype)
    cu_seqlens, num_keep = packed_offsets(lengths, ids), torch.tensor(counts_for(lengths, seed), dtype=ids)

    keep = F.max_min_diversity(features, cu_seqlens, num_keep, weights=weights)

    certificate = certify_greedy(features, cu_seqlens, num_keep, keep, weights=weights)
    assert certificate, certificate.reason


def test_realistic_window_passes_the_certificate() -> None:
    lengths, num_keep = [330, 50, 330, 37], torch.tensor([139, 24, 28, 18])
    features = clustered_features(sum(lengths), 96, seed=3, clusters=24)
    weights = near_constant_saliency(sum(lengths), seed=3)
    cu_seqlens = packed_offsets(lengths)

    keep = F.max_min_diversity(features, cu_seqlens, num_keep, weights=weights)

    certificate = certify_greedy(features, cu_seqlens, num_keep, keep, weights=weights)
    assert certificate, certificate.reason


@pytest.mark.parametrize("seed", range(12))
def test_negative_control_wrong_features_are_refused(seed: int) -> None:
    """The data can tell right from wrong: features of other tokens, or of the wrong weights, give no certificate."""
    lengths, num_keep = [48, 40], torch.tensor([14, 9])
    features = clustered_features(88, 24, seed=seed)
    weights = near_constant_saliency(88, seed=seed)
    cu_seqlens = packed_offsets(lengths)
    shuffled = torch.cat([torch.randperm(48, generator=torch.Generator().manual_seed(seed)), torch.arange(48, 88).flip(0)])
    right = F.max_min_diversity(features, cu_seqlens, num_keep, weights=weights)
    wrong = F.max_min_diversity(features[shuffled], cu_seqlens, num_keep, weights=weights)

    assert certify_greedy(features, cu_seqlens, num_keep, right, weights=weights)
    assert not certify_greedy(features, cu_seqlens, num_keep, wrong, weights=weights)


@settings(max_examples=60)
@given(segment_lengths(max_length=16), seeds(), st.integers(1, 8))
def test_exact_ties_go_to_the_lowest_index(lengths: list[int], seed: int, kinds: int) -> None:
    """Walsh rows and weights that are powers of two: every product is exact, so every tie is a tie everywhere."""
    features = tied_features(sum(lengths), seed=seed, kinds=kinds)
    random = torch.Generator().manual_seed(seed)
    weights = 2.0 ** torch.randint(-1, 2, (sum(lengths),), generator=random)
    cu_seqlens, counts = packed_offsets(lengths), counts_for(lengths, seed)

    keep = F.max_min_diversity(features, cu_seqlens, torch.tensor(counts, dtype=torch.int64), weights=weights)

    expected, _ = brute_force_mask(features, cu_seqlens, counts, weights, np.float32)
    assert_same_selection(keep, expected, cu_seqlens)


@settings(max_examples=40)
@given(segment_lengths(min_segments=1, max_length=18), seeds())
def test_pick_order_is_a_prefix_of_a_longer_one(lengths: list[int], seed: int) -> None:
    features, cu_seqlens = clustered_features(sum(lengths), 16, seed=seed), packed_offsets(lengths)
    weights = near_constant_saliency(sum(lengths), seed=seed)
    counts = torch.tensor(counts_for(lengths, seed))

    shorter = max_min_order(features, cu_seqlens, counts, weights=weights)
    longer = max_min_order(features, cu_seqlens, counts + 1, weights=weights)
    keep = F.max_min_diversity(features, cu_seqlens, counts, weights=weights)

    assert shorter.dtype == torch.int64
    for window, (start, length) in enumerate(zip(cu_seqlens.tolist(), lengths, strict=False)):
        picks = [j for j in shorter[window].tolist() if j >= 0]
        assert longer[window].tolist()[: len(picks)] == picks
        assert shorter[window].tolist()[len(picks) :] == [-1] * (shorter.shape[1] - len(picks))
        assert len(picks) == min(int(counts[window]), length)
        assert sorted(picks) == torch.nonzero(keep[start : start + length]).flatten().tolist()


@settings(max_examples=30)
@given(st.integers(2, 24), seeds())
def test_permuting_a_window_permutes_its_selection(length: int, seed: int) -> None:
    features, weights = clustered_features(length, 16, seed=seed), near_constant_saliency(length, seed=seed)
    permutation = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    cu_seqlens, count = packed_offsets([length]), length // 2

    keep = F.max_min_diversity(features, cu_seqlens, torch.tensor([count]), weights=weights)
    permuted = F.max_min_diversity(features[permutation], cu_seqlens, torch.tensor([count]), weights=weights[permutation])

    _, gap = brute_force(features, count, weights)
    assert_same_selection(permuted, keep[permutation], gap=[gap])


@settings(max_examples=30)
@given(segment_lengths(max_length=20), seeds(), st.integers(-6, 6))
def test_selection_does_not_depend_on_scale(lengths: list[int], seed: int, exponent: int) -> None:
    features, weights = clustered_features(sum(lengths), 16, seed=seed), near_constant_saliency(sum(lengths), seed=seed)
    cu_seqlens, num_keep = packed_offsets(lengths), torch.tensor(counts_for(lengths, seed), dtype=torch.int64)
    scale = 2.0**exponent

    keep = F.max_min_diversity(features, cu_seqlens, num_keep, weights=weights)

    _, gaps = brute_force_mask(features, cu_seqlens, num_keep.tolist(), weights)
    scaled_features = F.max_min_diversity(features * scale, cu_seqlens, num_keep, weights=weights)
    assert_same_selection(scaled_features, keep, cu_seqlens, gap=gaps)
    scaled_weights = F.max_min_diversity(features, cu_seqlens, num_keep, weights=weights * scale)
    assert torch.equal(scaled_weights, keep)


@settings(max_examples=30)
@given(segment_lengths(min_segments=2, max_length=20), seeds())
def test_packed_windows_equal_windows_alone(lengths: list[int], seed: int) -> None:
    features, cu_seqlens = clustered_features(sum(lengths), 16, seed=seed), packed_offsets(lengths)
    counts = counts_for(lengths, seed)

    keep = F.max_min_diversity(features, cu_seqlens, torch.tensor(counts))

    parts = [
        F.max_min_diversity(part, packed_offsets([len(part)]), torch.tensor([count]))
        for part, count in zip(features.split(lengths), counts, strict=True)
    ]
    _, gaps = brute_force_mask(features, cu_seqlens, counts, None)
    assert_same_selection(keep, torch.cat(parts), cu_seqlens, gap=gaps)


@pytest.mark.parametrize("seed", range(5))
def test_exact_duplicates_of_a_picked_token_come_last(seed: int) -> None:
    base = clustered_features(9, 32, seed=seed, spread=1.0)
    copies = torch.arange(27) % 9
    copies = copies[torch.randperm(27, generator=torch.Generator().manual_seed(seed))]

    keep = F.max_min_diversity(base[copies], packed_offsets([27]), torch.tensor([9]))

    assert sorted(copies[keep].tolist()) == list(range(9))
