"""greedy_dpp against examples by hand, determinants in NumPy and a float64 certificate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import functional as F
from seats_ops.testing import (
    assert_same_selection,
    certify_dpp,
    clustered_features,
    near_constant_saliency,
    packed_offsets,
    tied_features,
)
from seats_ops.testing.strategies import id_dtypes, seeds, segment_lengths, value_dtypes
from tests.ops.dpp_oracle import brute_force
from tests.ops.greedy_oracle import counts_for

# Cosines to the first row: 1, 0.6, 0, 0.8.
ROWS = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 1.0], [4.0, 3.0]])


def kept(features: Tensor, count: int, **options: Tensor) -> list[int]:
    return (
        F.greedy_dpp(features, packed_offsets([len(features)]), torch.tensor([count]), **options)
        .nonzero()
        .flatten()
        .tolist()
    )


def expected_mask(
    features: Tensor, cu_seqlens: Tensor, counts: list[int], quality: Tensor | None
) -> tuple[Tensor, list[float]]:
    keep, gaps = torch.zeros(len(features), dtype=torch.bool), []
    bounds = cu_seqlens.tolist()
    for start, end, count in zip(bounds[:-1], bounds[1:], counts, strict=True):
        picks, gap = brute_force(features[start:end], count, None if quality is None else quality[start:end])
        keep[[start + j for j in picks]] = True
        gaps.append(gap)
    return keep, gaps


def test_by_hand() -> None:
    """All variances are 1; given the first row they are 0.64, 1 and 0.36; given the third too, none is left."""
    assert [kept(ROWS, count) for count in range(5)] == [[], [0], [0, 2], [0, 1, 2], [0, 1, 2, 3]]


def test_quality_by_hand() -> None:
    """The second row leads by 4 to 1; given it, 0.64, 0.36 and 0.0784 are left, times the squares of 1, 2 and 4."""
    assert kept(ROWS, 1, quality=torch.tensor([1.0, 2.0, 1.0, 1.0])) == [1]
    assert kept(ROWS, 2, quality=torch.tensor([1.0, 4.0, 1.0, 1.0])) == [0, 1]
    assert kept(ROWS, 2, quality=torch.tensor([1.0, 9.0, 2.0, 4.0])) == [1, 2]


@settings(max_examples=15)
@given(segment_lengths(max_segments=2, max_length=14), seeds(), st.booleans())
def test_determinants_decide(lengths: list[int], seed: int, weighted: bool) -> None:
    features = clustered_features(sum(lengths), 24, seed=seed)
    quality = torch.rand(sum(lengths), generator=torch.Generator().manual_seed(seed)) if weighted else None
    cu_seqlens, counts = packed_offsets(lengths), counts_for(lengths, seed)

    keep = F.greedy_dpp(features, cu_seqlens, torch.tensor(counts, dtype=torch.int64), quality=quality)

    expected, gaps = expected_mask(features, cu_seqlens, counts, quality)
    assert_same_selection(keep, expected, cu_seqlens, gap=gaps)


def test_most_selections_of_the_oracle_are_decided() -> None:
    """Else the test above would excuse whatever it sees."""
    gaps = [
        brute_force(
            clustered_features(18, 24, seed=seed), 6, torch.rand(18, generator=torch.Generator().manual_seed(seed))
        )[1]
        for seed in range(20)
    ]
    assert sum(gap > 1e-4 for gap in gaps) >= 15


@settings(max_examples=10)
@given(segment_lengths(max_segments=2, max_length=20), seeds(), value_dtypes(), id_dtypes())
def test_certificate_for_every_dtype(lengths: list[int], seed: int, dtype: torch.dtype, ids: torch.dtype) -> None:
    features = clustered_features(sum(lengths), 24, seed=seed, dtype=dtype)
    quality = near_constant_saliency(sum(lengths), seed=seed, dtype=dtype, spread=0.5)
    cu_seqlens, num_keep = packed_offsets(lengths, ids), torch.tensor(counts_for(lengths, seed), dtype=ids)

    keep = F.greedy_dpp(features, cu_seqlens, num_keep, quality=quality)

    certificate = certify_dpp(features, cu_seqlens, num_keep, keep, quality=quality)
    assert certificate, certificate.reason


@pytest.mark.parametrize("weighted", [False, True])
def test_an_image_passes_the_certificate(weighted: bool) -> None:
    lengths, num_keep = [60, 17], torch.tensor([15, 8])
    features = clustered_features(sum(lengths), 96, seed=3, clusters=24)
    quality = near_constant_saliency(sum(lengths), seed=3, spread=0.9) if weighted else None
    cu_seqlens = packed_offsets(lengths)

    keep = F.greedy_dpp(features, cu_seqlens, num_keep, quality=quality)

    certificate = certify_dpp(features, cu_seqlens, num_keep, keep, quality=quality)
    assert certificate, certificate.reason


@pytest.mark.parametrize("lengths", [[150, 3], list(range(17))], ids=["one long segment", "many segments"])
def test_sizes_that_are_worked_off_in_parts(lengths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Similarities of one segment that do not fit the bound of the reference, and those of a few that do."""
    monkeypatch.setattr("seats_ops.ops.greedy_dpp.reference.MATRIX_CELLS", 2000)
    monkeypatch.setattr("seats_ops.ops.greedy_dpp.reference.FEATURE_CELLS", 500)
    features = clustered_features(sum(lengths), 12, seed=1, clusters=9)
    quality = near_constant_saliency(sum(lengths), seed=1)
    cu_seqlens, num_keep = packed_offsets(lengths), torch.tensor([min(8, n // 2) for n in lengths])

    keep = F.greedy_dpp(features, cu_seqlens, num_keep, quality=quality, backend="reference")

    certificate = certify_dpp(features, cu_seqlens, num_keep, keep, quality=quality)
    assert certificate, certificate.reason


@pytest.mark.parametrize("seed", range(3))
def test_negative_control_wrong_data_is_refused(seed: int) -> None:
    """The data can tell right from wrong: with features or qualities of other tokens there is no certificate."""
    features, cu_seqlens, num_keep = clustered_features(30, 24, seed=seed), packed_offsets([30]), torch.tensor([9])
    quality = near_constant_saliency(30, seed=seed, spread=0.9)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    for wrong in ((features[order], quality), (features, quality[order])):
        keep = F.greedy_dpp(wrong[0], cu_seqlens, num_keep, quality=wrong[1])
        assert certify_dpp(wrong[0], cu_seqlens, num_keep, keep, quality=wrong[1])
        assert not certify_dpp(features, cu_seqlens, num_keep, keep, quality=quality)


@settings(max_examples=15)
@given(segment_lengths(max_segments=2, max_length=14), seeds(), st.integers(1, 8), st.booleans())
def test_exact_ties_go_to_the_lowest_index(lengths: list[int], seed: int, kinds: int, weighted: bool) -> None:
    """Walsh rows and qualities that are powers of two: every variance is 0 or 1, so every tie is a tie everywhere."""
    features = tied_features(sum(lengths), seed=seed, kinds=kinds)
    random = torch.Generator().manual_seed(seed)
    quality = 2.0 ** torch.randint(-1, 2, (sum(lengths),), generator=random) if weighted else None
    cu_seqlens, counts = packed_offsets(lengths), counts_for(lengths, seed)

    keep = F.greedy_dpp(features, cu_seqlens, torch.tensor(counts, dtype=torch.int64), quality=quality)

    expected, _ = expected_mask(features, cu_seqlens, counts, quality)
    assert_same_selection(keep, expected, cu_seqlens)


@settings(max_examples=8)
@given(st.integers(1, 12), st.integers(1, 4), seeds())
def test_once_the_dimensions_are_used_up_the_lowest_indices_follow(length: int, dim: int, seed: int) -> None:
    """Not what rounding left of the variances: more picks than channels, most of them of no variance."""
    features = torch.randn(length, dim, generator=torch.Generator().manual_seed(seed))
    explained = kept(features, dim)
    count = (length + dim) // 2
    got = kept(features, count)
    if count <= dim or float(torch.linalg.cond(features[explained])) > 20:
        return
    rest = [j for j in range(length) if j not in explained]
    assert got == sorted(explained + rest[: count - len(explained)])


@pytest.mark.parametrize("seed", range(3))
def test_exact_duplicates_of_a_picked_token_come_last(seed: int) -> None:
    base = clustered_features(9, 32, seed=seed, spread=1.0)
    copies = torch.arange(27) % 9
    copies = copies[torch.randperm(27, generator=torch.Generator().manual_seed(seed))]
    firsts = sorted(int((copies == kind).nonzero()[0]) for kind in range(9))

    assert kept(base[copies], 9) == firsts


@settings(max_examples=8)
@given(segment_lengths(max_segments=2, max_length=10), seeds(), st.integers(-40, 40))
def test_selection_does_not_depend_on_scale(lengths: list[int], seed: int, exponent: int) -> None:
    """Powers of two change no rounding: squares of qualities need not fit float32."""
    features = clustered_features(sum(lengths), 16, seed=seed)
    quality = near_constant_saliency(sum(lengths), seed=seed, spread=0.9)
    cu_seqlens, num_keep = packed_offsets(lengths), torch.tensor(counts_for(lengths, seed), dtype=torch.int64)

    keep = F.greedy_dpp(features, cu_seqlens, num_keep, quality=quality)

    scaled = F.greedy_dpp(
        features * 2.0 ** abs(exponent), cu_seqlens, num_keep, quality=quality * 2.0 ** (3 * exponent)
    )
    assert torch.equal(scaled, keep)


@settings(max_examples=4)
@given(segment_lengths(min_segments=2, max_segments=3, max_length=9), seeds())
def test_packed_segments_equal_segments_alone(lengths: list[int], seed: int) -> None:
    features, cu_seqlens = clustered_features(sum(lengths), 16, seed=seed), packed_offsets(lengths)
    counts = counts_for(lengths, seed)

    keep = F.greedy_dpp(features, cu_seqlens, torch.tensor(counts))

    parts = [
        F.greedy_dpp(part, packed_offsets([len(part)]), torch.tensor([count]))
        for part, count in zip(features.split(lengths), counts, strict=True)
    ]
    _, gaps = expected_mask(features, cu_seqlens, counts, None)
    assert_same_selection(keep, torch.cat(parts), cu_seqlens, gap=gaps)


@settings(max_examples=6)
@given(st.integers(2, 6), seeds())
def test_a_larger_count_keeps_what_a_smaller_one_keeps(length: int, seed: int) -> None:
    features = clustered_features(length, 16, seed=seed)
    quality = near_constant_saliency(length, seed=seed)
    chain = [set(kept(features, count, quality=quality)) for count in range(length + 1)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(chain))


def test_the_volume_is_larger_than_that_of_random_subsets() -> None:
    """What the selection is for."""
    features = clustered_features(60, 32, seed=0)
    rows = torch.nn.functional.normalize(features.double(), dim=1)

    def volume(tokens: Tensor) -> float:
        return float(torch.linalg.slogdet(rows[tokens] @ rows[tokens].T).logabsdet)

    ours = volume(torch.tensor(kept(features, 12)))
    random = torch.Generator().manual_seed(0)
    assert all(ours > volume(torch.randperm(60, generator=random)[:12]) for _ in range(50))
    assert np.isfinite(ours)
