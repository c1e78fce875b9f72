"""max_min_diversity against the authors' numbers, a brute-force greedy in NumPy and a float64 certificate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seats_ops import functional as F
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
from tests.ops.greedy_oracle import DECIDED, brute_force_mask, counts_for

GOLDEN = golden_cases(Path(__file__).parents[1] / "golden", "diversity")


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


@pytest.mark.parametrize("lengths", [[4300, 3], list(range(31)) * 8], ids=["one long window", "many windows"])
def test_sizes_that_are_worked_off_in_parts(lengths: list[int]) -> None:
    features = clustered_features(sum(lengths), 12, seed=1, clusters=9)
    weights = near_constant_saliency(sum(lengths), seed=1)
    cu_seqlens, num_keep = packed_offsets(lengths), torch.tensor([min(8, n // 2) for n in lengths])

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
    order = torch.randperm(48, generator=torch.Generator().manual_seed(seed))
    shuffled = torch.cat([order, torch.arange(48, 88).flip(0)])
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
