"""max_min_diversity at the edges: sizes, non-finite data, memory layout, and arguments that are refused."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from seats_ops import BackendUnavailable
from seats_ops import functional as F
from seats_ops.testing import clustered_features, near_constant_saliency, packed_offsets
from seats_ops.testing.strategies import seeds, segment_lengths


def expected_counts(lengths: list[int], num_keep: list[int]) -> list[int]:
    return [min(n, k) for n, k in zip(lengths, num_keep, strict=True)]


def counts_of(keep: Tensor, lengths: list[int]) -> list[int]:
    return [int(part.sum()) for part in keep.split(lengths)] if lengths else []


@pytest.mark.parametrize(
    ("lengths", "num_keep"),
    [
        ([], []),
        ([0], [0]),
        ([0, 0], [3, 0]),
        ([1, 1, 1], [0, 1, 5]),
        ([0, 4, 0, 2, 0], [1, 0, 2, 9, 0]),
        ([2], [1]),
        ([7], [7]),
        ([7], [1000]),
    ],
)
def test_counts_of_unusual_sizes(lengths: list[int], num_keep: list[int]) -> None:
    features = clustered_features(sum(lengths), 8, seed=0)
    keep = F.max_min_diversity(features, packed_offsets(lengths), torch.tensor(num_keep, dtype=torch.int64))
    assert keep.dtype == torch.bool and keep.shape == (sum(lengths),)
    assert counts_of(keep, lengths) == expected_counts(lengths, num_keep)


def test_all_tokens_equal_and_weights_huge_keep_the_exact_count() -> None:
    features = torch.full((20, 6), 0.3)
    weights = torch.linspace(1e6, 2e6, 20)
    for count in range(21):
        keep = F.max_min_diversity(features, packed_offsets([20]), torch.tensor([count]), weights=weights)
        assert int(keep.sum()) == count


def test_zero_weights_leave_the_lowest_indices() -> None:
    features = clustered_features(10, 8, seed=0)
    keep = F.max_min_diversity(features, packed_offsets([10]), torch.tensor([4]), weights=torch.zeros(10))
    assert keep.tolist() == [True] * 4 + [False] * 6


def test_zero_features_are_at_distance_one_of_everything() -> None:
    """cos = 0 with a zero vector by the 1e-8 in the norm: after any pick, the zero token at distance 1 wins."""
    near = torch.tensor([[1.0, 0.0], [1.0, 0.02], [1.0, 0.05], [0.0, 0.0], [1.0, 0.03]])
    keep = F.max_min_diversity(near, packed_offsets([5]), torch.tensor([1]))
    assert keep.tolist() == [False, False, False, True, False]


@settings(max_examples=40)
@given(segment_lengths(min_segments=1, max_length=14), seeds())
def test_non_finite_data_keep_exact_counts_and_stay_in_their_window(lengths: list[int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    features, weights = clustered_features(total, 12, seed=seed), near_constant_saliency(total, seed=seed)
    cu_seqlens = packed_offsets(lengths)
    num_keep = torch.tensor([n // 2 for n in lengths])
    clean = F.max_min_diversity(features, cu_seqlens, num_keep, weights=weights)
    special = torch.tensor([float("nan"), float("inf"), float("-inf"), 3e38])
    bad_features, bad_weights = features.clone(), weights.clone()
    victim = int(torch.randint(len(lengths), (1,), generator=random))
    for index in range(int(cu_seqlens[victim]), int(cu_seqlens[victim + 1])):
        kind, where = torch.randint(4, (2,), generator=random).tolist()
        if where & 1:
            bad_features[index, where] = special[kind]
        if where & 2:
            bad_weights[index] = special[kind]

    keep = F.max_min_diversity(bad_features, cu_seqlens, num_keep, weights=bad_weights)

    assert counts_of(keep, lengths) == expected_counts(lengths, num_keep.tolist())
    assert torch.equal(keep, F.max_min_diversity(bad_features, cu_seqlens, num_keep, weights=bad_weights))
    for window, (got, want) in enumerate(zip(keep.split(lengths), clean.split(lengths), strict=True)):
        assert window == victim or torch.equal(got, want)


def test_non_finite_weights_count_as_documented() -> None:
    features = clustered_features(12, 12, seed=4)
    weights = near_constant_saliency(12, seed=4)
    documented = weights.clone()
    weights[2], documented[2] = float("nan"), 0.0
    weights[7], documented[7] = float("inf"), torch.finfo(torch.float32).max
    arguments = (features, packed_offsets([12]), torch.tensor([5]))
    got = F.max_min_diversity(*arguments, weights=weights)
    assert torch.equal(got, F.max_min_diversity(*arguments, weights=documented))
    assert got[7] and not got[2]


def test_memory_layout_max_seqlen_and_inputs() -> None:
    lengths = [9, 0, 14]
    features, weights = clustered_features(23, 12, seed=1), near_constant_saliency(23, seed=1)
    cu_seqlens, num_keep = packed_offsets(lengths), torch.tensor([4, 1, 6])
    before = [x.clone() for x in (features, cu_seqlens, num_keep, weights)]

    keep = F.max_min_diversity(features, cu_seqlens, num_keep, weights=weights)

    strided = features.T.contiguous().T, weights.repeat_interleave(2)[::2], num_keep.repeat_interleave(2)[::2]
    assert not strided[0].is_contiguous() and not strided[1].is_contiguous()
    assert torch.equal(keep, F.max_min_diversity(strided[0], cu_seqlens, strided[2], weights=strided[1]))
    for max_seqlen in (14, 23, 500):
        assert torch.equal(
            keep, F.max_min_diversity(features, cu_seqlens, num_keep, weights=weights, max_seqlen=max_seqlen)
        )
    assert torch.equal(keep, F.max_min_diversity(features, cu_seqlens, num_keep, weights=weights, backend="reference"))
    assert torch.equal(keep, F.max_min_diversity(features.requires_grad_(), cu_seqlens, num_keep, weights=weights))
    for tensor, copy in zip((features, cu_seqlens, num_keep, weights), before, strict=True):
        assert torch.equal(tensor, copy)


def test_index_names_the_rows_of_the_windows() -> None:
    features, weights = clustered_features(30, 8, seed=2), near_constant_saliency(12, seed=2)
    index = torch.tensor([29, 3, 4, 4, 17, 0, 8, 9, 21, 2, 1, 28], dtype=torch.int32)
    arguments = packed_offsets([5, 7]), torch.tensor([2, 3])
    keep = F.max_min_diversity(features, *arguments, weights=weights, index=index)
    assert torch.equal(keep, F.max_min_diversity(features[index.long()], *arguments, weights=weights))
    assert F.max_min_diversity(features, packed_offsets([]), torch.empty(0).int(), index=index[:0]).shape == (0,)


VALID: dict[str, Any] = {
    "features": torch.ones(6, 4),
    "cu_seqlens": torch.tensor([0, 2, 6]),
    "num_keep": torch.tensor([1, 2]),
    "weights": torch.ones(6),
}
BAD = [
    ("features", torch.ones(6), ValueError),
    ("features", torch.ones(2, 3, 4), ValueError),
    ("features", torch.ones(6, 4, dtype=torch.int64), TypeError),
    ("features", [[1.0]], TypeError),
    ("cu_seqlens", torch.tensor([[0, 2, 6]]), ValueError),
    ("cu_seqlens", torch.tensor([0.0, 2.0, 6.0]), TypeError),
    ("cu_seqlens", torch.tensor([], dtype=torch.int32), ValueError),
    ("cu_seqlens", torch.tensor([0, 7, 6]), ValueError),
    ("cu_seqlens", torch.tensor([1, 2, 6]), ValueError),
    ("cu_seqlens", torch.tensor([0, 2, 5]), ValueError),
    ("num_keep", torch.tensor([1, -1]), ValueError),
    ("num_keep", torch.tensor([1, 2, 3]), ValueError),
    ("num_keep", torch.tensor([1.0, 2.0]), TypeError),
    ("num_keep", torch.tensor([True, True]), TypeError),
    ("num_keep", torch.tensor([1, 2], device="meta"), ValueError),
    ("weights", torch.ones(5), ValueError),
    ("weights", torch.ones(6, 1), ValueError),
    ("weights", torch.ones(6, dtype=torch.int32), TypeError),
    ("weights", torch.ones(6, device="meta"), ValueError),
    ("index", torch.tensor([0, 1, 2, 3, 4, 6]), ValueError),
    ("index", torch.tensor([0, 1, 2, -1, 4, 5]), ValueError),
    ("index", torch.ones(6), TypeError),
    ("index", torch.arange(6, device="meta"), ValueError),
    ("max_seqlen", 3, ValueError),
    ("max_seqlen", -1, ValueError),
    ("max_seqlen", 4.0, TypeError),
    ("max_keep", 1, ValueError),
    ("max_keep", True, TypeError),
    ("first", "nearest", ValueError),
    ("first", None, ValueError),
    ("backend", "cuda", ValueError),
    ("backend", None, ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_bad_arguments_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        F.max_min_diversity(**{**VALID, name: value})


def test_a_first_pick_by_weight_needs_weights() -> None:
    with pytest.raises(ValueError, match=r"weights: expected a tensor \[6\] as first is 'weight', got None"):
        F.max_min_diversity(**{**VALID, "weights": None}, first="weight")


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs kernels on CPU tensors")
def test_triton_is_refused_on_cpu_tensors() -> None:
    with pytest.raises(BackendUnavailable, match="triton"):
        F.max_min_diversity(**VALID, backend="triton")
