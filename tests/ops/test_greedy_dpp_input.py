"""greedy_dpp at the edges: sizes, non-finite data, memory layout, device reads, and arguments that are refused."""

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
    keep = F.greedy_dpp(features, packed_offsets(lengths), torch.tensor(num_keep, dtype=torch.int64))
    assert keep.dtype == torch.bool and keep.shape == (sum(lengths),)
    assert counts_of(keep, lengths) == [min(n, k) for n, k in zip(lengths, num_keep, strict=True)]


@pytest.mark.parametrize(
    ("features", "quality"),
    [
        (torch.full((6, 6), 0.3), None),
        (torch.full((6, 6), 0.3), torch.full((6,), 3e38)),
        (torch.zeros(6, 6), None),
        (torch.full((6, 6), float("nan")), torch.ones(6)),
        (torch.full((6, 6), 3e38), torch.ones(6)),
        (torch.eye(6), torch.zeros(6)),
        (torch.eye(6), torch.full((6,), float("nan"))),
        (torch.eye(6), torch.full((6,), float("inf"))),
        (torch.eye(6), torch.full((6,), 1e-30)),
    ],
)
def test_what_does_not_differ_is_kept_from_the_first_on(features: Tensor, quality: Tensor | None) -> None:
    for count in (0, 1, 4, 6):
        keep = F.greedy_dpp(features, packed_offsets([6]), torch.tensor([count]), quality=quality)
        assert keep.tolist() == [True] * count + [False] * (6 - count)


@pytest.mark.parametrize("bad", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0], [3e38, 3e38]])
def test_a_token_without_a_direction_comes_last_and_explains_nothing(bad: list[float]) -> None:
    features = torch.tensor([bad, [1.0, 0.0], [1.0, 0.2], [0.2, 1.0]])
    quality = torch.tensor([9.0, 1.0, 1.0, 1.0])
    order = []
    for count in range(1, 5):
        keep = F.greedy_dpp(features, packed_offsets([4]), torch.tensor([count]), quality=quality)
        order += [j for j in keep.nonzero().flatten().tolist() if j not in order]
    assert order == [1, 3, 0, 2], "given the second and the fourth row nothing is left of the third: the index decides"


def test_norms_that_the_epsilon_is_not_small_against() -> None:
    """A variance of (n / (n + 1e-8))^2: a quarter for a norm of 1e-8."""
    features = torch.tensor([[1e-8, 0.0], [0.0, 1.0]])
    for quality, first in ((1.9, 1), (2.1, 0)):
        weighted = torch.tensor([quality, 1.0])
        keep = F.greedy_dpp(features, packed_offsets([2]), torch.tensor([1]), quality=weighted)
        assert keep.nonzero().flatten().tolist() == [first]


@settings(max_examples=6)
@given(segment_lengths(min_segments=1, max_segments=3, max_length=9), seeds())
def test_non_finite_data_keep_exact_counts_and_stay_in_their_segment(lengths: list[int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    features, quality = clustered_features(total, 12, seed=seed), near_constant_saliency(total, seed=seed)
    cu_seqlens = packed_offsets(lengths)
    num_keep = torch.tensor([n // 2 for n in lengths])
    clean = F.greedy_dpp(features, cu_seqlens, num_keep, quality=quality)
    special = torch.tensor([float("nan"), float("inf"), float("-inf"), 3e38])
    bad_features, bad_quality = features.clone(), quality.clone()
    victim = int(torch.randint(len(lengths), (1,), generator=random))
    for token in range(int(cu_seqlens[victim]), int(cu_seqlens[victim + 1])):
        kind, where = torch.randint(4, (2,), generator=random).tolist()
        if where & 1:
            bad_features[token, where] = special[kind]
        if where & 2:
            bad_quality[token] = special[kind].abs()

    keep = F.greedy_dpp(bad_features, cu_seqlens, num_keep, quality=bad_quality)

    assert counts_of(keep, lengths) == num_keep.tolist()
    assert torch.equal(keep, F.greedy_dpp(bad_features, cu_seqlens, num_keep, quality=bad_quality))
    for segment, (got, want) in enumerate(zip(keep.split(lengths), clean.split(lengths), strict=True)):
        assert segment == victim or torch.equal(got, want)


def test_non_finite_quality_counts_as_documented() -> None:
    features, quality = clustered_features(12, 12, seed=4), near_constant_saliency(12, seed=4)
    documented = quality.clone()
    quality[2], documented[2] = float("nan"), 0.0
    quality[7], documented[7] = float("inf"), torch.finfo(torch.float32).max
    arguments = (features, packed_offsets([12]), torch.tensor([5]))
    got = F.greedy_dpp(*arguments, quality=quality)
    assert torch.equal(got, F.greedy_dpp(*arguments, quality=documented))
    assert got[7] and not got[2]


def test_memory_layout_bounds_and_inputs() -> None:
    lengths = [9, 0, 14]
    features, quality = clustered_features(23, 12, seed=1), near_constant_saliency(23, seed=1)
    cu_seqlens, num_keep = packed_offsets(lengths), torch.tensor([4, 1, 6])
    before = [x.clone() for x in (features, cu_seqlens, num_keep, quality)]

    keep = F.greedy_dpp(features, cu_seqlens, num_keep, quality=quality)

    strided = features.T.contiguous().T, quality.repeat_interleave(2)[::2], num_keep.repeat_interleave(2)[::2]
    assert not strided[0].is_contiguous() and not strided[1].is_contiguous()
    assert torch.equal(keep, F.greedy_dpp(strided[0], cu_seqlens, strided[2], quality=strided[1]))
    for bounds in ({"max_seqlen": 14}, {"max_keep": 6}, {"max_seqlen": 500, "max_keep": 99}):
        assert torch.equal(keep, F.greedy_dpp(features, cu_seqlens, num_keep, quality=quality, **bounds))
    assert torch.equal(keep, F.greedy_dpp(features, cu_seqlens, num_keep, quality=quality, backend="reference"))
    assert torch.equal(keep, F.greedy_dpp(features.requires_grad_(), cu_seqlens, num_keep, quality=quality))
    for tensor, copy in zip((features, cu_seqlens, num_keep, quality), before, strict=True):
        assert torch.equal(tensor, copy)


def test_index_names_the_rows_of_the_segments() -> None:
    features, quality = clustered_features(30, 8, seed=2), near_constant_saliency(12, seed=2)
    index = torch.tensor([29, 3, 4, 4, 17, 0, 8, 9, 21, 2, 1, 28], dtype=torch.int32)
    arguments = packed_offsets([5, 7]), torch.tensor([2, 3])
    keep = F.greedy_dpp(features, *arguments, quality=quality, index=index)
    assert torch.equal(keep, F.greedy_dpp(features[index.long()], *arguments, quality=quality))
    assert F.greedy_dpp(features, packed_offsets([]), torch.empty(0).int(), index=index[:0]).shape == (0,)


@pytest.mark.parametrize("given", [{}, {"max_seqlen": 9}, {"max_keep": 4}], ids=str)
def test_a_bound_that_is_missing_costs_one_read(given: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device there is nothing to read: the read is answered for it, and counted."""
    reads = []
    monkeypatch.setattr(Tensor, "tolist", lambda tensor: reads.append(tensor.shape) or [9, 4])
    meta = [torch.empty(20, 8, device="meta"), *(torch.empty(n, dtype=torch.int64, device="meta") for n in (4, 3))]
    F.greedy_dpp(*meta, **given)
    assert len(reads) == 1
    F.greedy_dpp(*meta, max_seqlen=9, max_keep=4)
    assert len(reads) == 1


VALID: dict[str, Any] = {
    "features": torch.ones(6, 4),
    "cu_seqlens": torch.tensor([0, 2, 6]),
    "num_keep": torch.tensor([1, 2]),
    "quality": torch.ones(6),
}
BAD = [
    ("features", torch.ones(6), ValueError),
    ("features", torch.ones(6, 0), ValueError),
    ("features", torch.ones(6, 4, dtype=torch.int64), TypeError),
    ("features", [[1.0]], TypeError),
    ("cu_seqlens", torch.tensor([[0, 2, 6]]), ValueError),
    ("cu_seqlens", torch.tensor([0.0, 2.0, 6.0]), TypeError),
    ("cu_seqlens", torch.tensor([], dtype=torch.int32), ValueError),
    ("cu_seqlens", torch.tensor([0, 7, 6]), ValueError),
    ("cu_seqlens", torch.tensor([0, 2, 5]), ValueError),
    ("num_keep", torch.tensor([1, -1]), ValueError),
    ("num_keep", torch.tensor([1, 2, 3]), ValueError),
    ("num_keep", torch.tensor([True, True]), TypeError),
    ("num_keep", torch.tensor([1, 2], device="meta"), ValueError),
    ("quality", torch.ones(5), ValueError),
    ("quality", torch.ones(6, 1), ValueError),
    ("quality", torch.ones(6, dtype=torch.int32), TypeError),
    ("quality", torch.tensor([0.0, 1, 1, 1, -0.5, 1]), ValueError),
    ("quality", torch.tensor([float("nan"), 1, 1, 1, float("-inf"), 1]), ValueError),
    ("quality", torch.ones(6, device="meta"), ValueError),
    ("index", torch.tensor([0, 1, 2, 3, 4, 6]), ValueError),
    ("index", torch.ones(6), TypeError),
    ("index", torch.arange(6, device="meta"), ValueError),
    ("max_seqlen", 3, ValueError),
    ("max_seqlen", 4.0, TypeError),
    ("max_keep", 1, ValueError),
    ("max_keep", True, TypeError),
    ("backend", "cuda", ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_bad_arguments_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        F.greedy_dpp(**{**VALID, name: value})


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs kernels on CPU tensors")
def test_triton_is_refused_on_cpu_tensors() -> None:
    with pytest.raises(BackendUnavailable, match="triton"):
        F.greedy_dpp(**VALID, backend="triton")
