"""What holds for max_min_diversity whatever the data: order, permutation, scale, packing, duplicates."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seats_ops import functional as F
from seats_ops.ops.max_min_diversity.reference import max_min_order
from seats_ops.testing import (
    assert_same_selection,
    clustered_features,
    near_constant_saliency,
    packed_offsets,
)
from seats_ops.testing.strategies import seeds, segment_lengths
from tests.ops.greedy_oracle import brute_force, brute_force_mask, counts_for


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
    permuted = F.max_min_diversity(
        features[permutation], cu_seqlens, torch.tensor([count]), weights=weights[permutation]
    )

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
