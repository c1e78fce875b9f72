"""merge_rows against loops in plain Python, and the properties of a linear map of rows."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import BackendUnavailable
from seats_ops import functional as F
from seats_ops.testing.strategies import id_dtypes, seeds, value_dtypes

NAN, INF = float("nan"), float("inf")
Triples = tuple[Tensor, Tensor, Tensor]


def literal(features: Tensor, target: Tensor, source: Tensor, coefficient: Tensor) -> tuple[Tensor, Tensor]:
    """The merged rows in Python's own float64, and the sums of the terms' magnitudes; zeros where nothing is merged."""
    rows, weights = features.double().tolist(), coefficient.double().tolist()
    merged, sizes = [list(row) for row in rows], [[0.0] * len(row) for row in rows]
    for row in set(target.tolist()):
        merged[row] = [0.0] * len(rows[row])
    for to, of, weight in zip(target.tolist(), source.tolist(), weights, strict=True):
        for channel, value in enumerate(rows[of]):
            merged[to][channel] += weight * value
            sizes[to][channel] += abs(weight * value)
    shape = features.shape
    return tuple(torch.tensor(x, dtype=torch.float64).reshape(shape) for x in (merged, sizes))  # type: ignore[return-value]


def in_order(features: Tensor, target: Tensor, source: Tensor, coefficient: Tensor) -> Tensor:
    """The contract to the bit: a running sum in float32 per row, rounded once."""
    rows, weights, sums = features.float().numpy(), coefficient.float().numpy(), {}
    for to, of, weight in zip(target.tolist(), source.tolist(), weights, strict=True):
        before = sums.get(to, np.zeros(rows.shape[1], dtype=np.float32))
        sums[to] = before + weight * rows[of]
    merged = features.clone()
    for row, value in sums.items():
        merged[row] = torch.from_numpy(value).to(features.dtype)
    return merged


def random_triples(total: int, number: int, random: torch.Generator, ids: torch.dtype = torch.int64) -> Triples:
    """Few targets and sources, so that pairs repeat and rows are both; any sign."""
    some = max(1, total // 2)
    target = torch.randint(some, (number,), generator=random)
    source = total - 1 - torch.randint(max(1, total - total // 4), (number,), generator=random)
    return target.to(ids), source.to(ids), torch.randn(number, generator=random)


def bits(tensor: Tensor) -> Tensor:
    """To compare NaN with NaN, and -0 with 0."""
    return tensor.view(torch.int32 if tensor.dtype == torch.float32 else torch.int16)


sizes = st.tuples(st.integers(1, 20), st.integers(0, 40), st.sampled_from([1, 3, 8, 21]))


@settings(max_examples=100)
@given(sizes, seeds(), value_dtypes(), value_dtypes(), id_dtypes())
def test_matches_a_literal_loop(
    size: tuple[int, int, int], seed: int, dtype: torch.dtype, weight_dtype: torch.dtype, ids: torch.dtype
) -> None:
    random = torch.Generator().manual_seed(seed)
    total, number, channels = size
    features = torch.randn(total, channels, generator=random).to(dtype)
    target, source, coefficient = random_triples(total, number, random, ids)
    given_triples = target, source, coefficient.to(weight_dtype)
    before = [x.clone() for x in (features, *given_triples)]

    merged = F.merge_rows(features, *given_triples)

    assert merged.dtype == dtype and merged.shape == features.shape
    assert merged.data_ptr() != features.data_ptr()
    assert all(torch.equal(x, old) for x, old in zip((features, *given_triples), before, strict=True))
    exact, magnitude = literal(features, *given_triples)
    # A rounding per product and per addition in float32, and the last one, to the result's dtype.
    kind = torch.finfo(dtype)
    allowed = (number + 1) * 2.0**-24 * 1.01 * magnitude + kind.eps / 2 * 1.01 * exact.abs() + kind.smallest_normal
    untouched = torch.ones(total, dtype=torch.bool).index_fill(0, target.long(), False)
    assert bool(((merged.double() - exact).abs() <= allowed).all())
    assert torch.equal(merged[untouched], features[untouched])
    assert torch.equal(bits(merged), bits(in_order(features, *given_triples)))


@given(sizes, seeds(), value_dtypes())
def test_whole_numbers_are_exact(size: tuple[int, int, int], seed: int, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(seed)
    total, number, channels = size
    features = torch.randint(-1, 2, (total, channels), generator=random).to(dtype)
    target, source, _ = random_triples(total, number, random)
    coefficient = torch.randint(-3, 4, (number,), generator=random).float()
    assert torch.equal(
        F.merge_rows(features, target, source, coefficient).double(),
        literal(features, target, source, coefficient)[0],
    )


@given(sizes, seeds())
def test_ones_become_the_sums_of_coefficients(size: tuple[int, int, int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    total, number, channels = size
    target, source, coefficient = random_triples(total, number, random)
    coefficient = coefficient.mul(8).round() / 8
    sums = [1.0] * total
    for row in set(target.tolist()):
        sums[row] = sum(w for t, w in zip(target.tolist(), coefficient.tolist(), strict=True) if t == row)
    merged = F.merge_rows(torch.ones(total, channels), target, source, coefficient)
    assert torch.equal(merged, torch.tensor(sums)[:, None].expand(total, channels))


@given(sizes, seeds(), st.integers(-4, 4))
def test_linear_in_the_features(size: tuple[int, int, int], seed: int, factor: int) -> None:
    random = torch.Generator().manual_seed(seed)
    total, number, channels = size
    first, second = torch.randint(-9, 10, (2, total, channels), generator=random).float()
    target, source, coefficient = random_triples(total, number, random)
    triples = target, source, coefficient.mul(4).round() / 4
    together = F.merge_rows(first + factor * second, *triples)
    assert torch.equal(together, F.merge_rows(first, *triples) + factor * F.merge_rows(second, *triples))


@given(sizes, seeds(), value_dtypes())
def test_the_order_of_other_targets_triples_does_not_matter(
    size: tuple[int, int, int], seed: int, dtype: torch.dtype
) -> None:
    """To the bit, as long as triples of one target stay in their order."""
    random = torch.Generator().manual_seed(seed)
    total, number, channels = size
    features = torch.randn(total, channels, generator=random).to(dtype)
    triples = random_triples(total, number, random)
    # Targets in another order, each with its triples as they stood.
    turn = torch.randperm(total, generator=random)[triples[0]]
    order = torch.tensor(sorted(range(number), key=lambda i: int(turn[i])), dtype=torch.int64)
    shuffled = [x[order] for x in triples]
    assert torch.equal(bits(F.merge_rows(features, *shuffled)), bits(F.merge_rows(features, *triples)))


@given(sizes, seeds(), value_dtypes(), st.sampled_from([NAN, INF, -INF]))
def test_rows_that_nobody_names_do_not_leak(
    size: tuple[int, int, int], seed: int, dtype: torch.dtype, poison: float
) -> None:
    """Neither a row that is no source, nor what a target held before."""
    random = torch.Generator().manual_seed(seed)
    total, number, channels = size
    features = torch.randn(total, channels, generator=random).to(dtype)
    triples = random_triples(total, number, random)
    expected = F.merge_rows(features, *triples)
    unnamed = torch.ones(total, dtype=torch.bool).index_fill(0, triples[1], False)
    poisoned = features.masked_fill(unnamed[:, None], poison)
    merged = F.merge_rows(poisoned, *triples)
    targets = torch.zeros(total, dtype=torch.bool).index_fill(0, triples[0], True)
    assert torch.equal(merged[targets], expected[targets])
    assert torch.equal(bits(merged[~targets]), bits(poisoned[~targets]))


def merge(features: list[list[float]], triples: list[tuple[int, int, float]], dtype: Any = torch.float32) -> Any:
    target, source, coefficient = zip(*triples, strict=True) if triples else ((), (), ())
    index = {"dtype": torch.int64}
    merged = F.merge_rows(
        torch.tensor(features, dtype=dtype),
        torch.tensor(target, **index),
        torch.tensor(source, **index),
        torch.tensor(coefficient, dtype=torch.float32),
    )
    return merged.tolist()


def test_one_source_in_several_targets_and_several_in_one() -> None:
    rows = [[1.0], [10.0], [100.0], [1000.0]]
    assert merge(rows, [(0, 2, 1.0), (1, 2, 0.5), (1, 1, 1.0), (0, 0, 2.0), (1, 3, 0.25)]) == [
        [102.0],
        [310.0],
        [100.0],
        [1000.0],
    ]


def test_chains_and_swaps_read_what_was_given() -> None:
    rows = [[1.0], [10.0], [100.0]]
    assert merge(rows, [(1, 0, 1.0), (1, 1, 1.0), (2, 1, 1.0), (2, 2, 1.0)]) == [[1.0], [11.0], [110.0]]
    assert merge(rows, [(0, 1, 1.0), (1, 0, 1.0)]) == [[10.0], [1.0], [100.0]]


def test_triples_of_one_pair_add_up() -> None:
    assert merge([[1.0], [8.0]], [(0, 1, 0.5), (0, 0, 1.0), (0, 1, 0.25), (0, 1, 0.25)]) == [[9.0], [8.0]]


@pytest.mark.parametrize(("order", "expected"), [((0, 1, 2), 0.0), ((0, 2, 1), 1.0), ((1, 0, 2), 0.0)])
def test_sums_are_taken_in_the_order_of_the_triples(order: tuple[int, ...], expected: float) -> None:
    """2^24 + 1 is 2^24 in float32."""
    rows = [[2.0**24], [1.0], [-(2.0**24)], [7.0]]
    assert merge(rows, [(3, of, 1.0) for of in order])[3] == [expected]


def test_sums_are_float32_and_rounded_once() -> None:
    """In bfloat16 a sum of ones would stay at 256."""
    assert merge([[1.0], [0.0]], [(1, 0, 1.0)] * 300, torch.bfloat16) == [[1.0], [300.0]]
    assert merge([[3e4], [0.0]], [(1, 0, 2.0), (1, 0, 2.0), (1, 0, -3.0)], torch.float16) == [[3e4], [3e4]]
    assert merge([[4e4]], [(0, 0, 2.0)], torch.float16) == [[INF]]


def test_a_row_may_be_cleared_and_a_zero_times_nan_is_nan() -> None:
    assert merge([[5.0], [6.0]], [(0, 1, 0.0)]) == [[0.0], [6.0]]
    for value in (NAN, INF):
        merged = merge([[5.0], [value], [7.0]], [(0, 1, 0.0), (0, 2, 1.0)])
        assert np.isnan(merged[0]) and merged[2] == [7.0]


def test_infinities_follow_ieee() -> None:
    rows = [[0.0, 0.0], [INF, -INF], [-INF, 1.0]]
    assert merge(rows, [(0, 1, 2.0), (0, 2, -1.0)])[0] == [INF, -INF]
    assert np.isnan(merge(rows, [(0, 1, 1.0), (0, 2, 1.0)])[0][0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_other_rows_keep_every_bit(dtype: torch.dtype) -> None:
    """NaN of every sign and payload, -0 and subnormal numbers among them."""
    width, kind = (32, torch.int32) if dtype == torch.float32 else (16, torch.int16)
    random = torch.Generator().manual_seed(0)
    pattern = torch.randint(-(2 ** (width - 1)), 2 ** (width - 1), (64, 9), generator=random).to(kind)
    quiet_nans = torch.tensor([NAN, -0.0, 1e-40, -NAN], dtype=torch.float32).to(dtype).view(kind)
    pattern[0, :4] = quiet_nans
    pattern[1, :4] = quiet_nans + torch.tensor([1, 0, 0, 3], dtype=kind)
    features = pattern.view(dtype)
    merged = F.merge_rows(features, torch.tensor([63]), torch.tensor([0]), torch.tensor([1.0]))
    assert torch.equal(merged.view(kind)[:63], pattern[:63])


@pytest.mark.parametrize("shape", [(0, 4), (0, 0), (3, 4), (3, 0)])
def test_no_triples(shape: tuple[int, int]) -> None:
    features, none = torch.ones(shape), torch.zeros(0, dtype=torch.int64)
    merged = F.merge_rows(features, none, none, torch.zeros(0))
    assert torch.equal(merged, features)
    merged += 1
    assert bool((features == 1).all())


def test_rows_without_channels() -> None:
    assert F.merge_rows(torch.ones(3, 0), *[torch.tensor([1])] * 2, torch.ones(1)).shape == (3, 0)


@pytest.mark.parametrize("channels", [1, 7, 8, 1024, 1025, 2500])
def test_widths_around_tile_edges(channels: int) -> None:
    random = torch.Generator().manual_seed(channels)
    features = torch.randn(5, channels, generator=random)
    triples = random_triples(5, 9, random)
    assert torch.equal(F.merge_rows(features, *triples), in_order(features, *triples))


def test_many_triples() -> None:
    """More than one tile of them."""
    random = torch.Generator().manual_seed(2)
    features = torch.randn(40, 2, generator=random)
    triples = random_triples(40, 600, random)
    assert torch.equal(F.merge_rows(features, *triples), in_order(features, *triples))


def test_wide_rows_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference holds few weighted elements at once."""
    monkeypatch.setattr("seats_ops.ops.merge_rows.reference.CHANNELS", 8)
    monkeypatch.setattr("seats_ops.ops.merge_rows.reference.CELLS", 50)
    random = torch.Generator().manual_seed(3)
    features = torch.randn(9, 21, generator=random)
    triples = random_triples(9, 20, random)
    assert torch.equal(F.merge_rows(features, *triples, backend="reference"), in_order(features, *triples))


def test_non_contiguous_inputs() -> None:
    random = torch.Generator().manual_seed(1)
    features, triples = torch.randn(12, 6, generator=random), random_triples(12, 20, random)
    strided = [x.repeat_interleave(3)[::3] for x in triples]
    assert not any(x.is_contiguous() for x in strided)
    merged = F.merge_rows(features.T.contiguous().T, *strided)
    assert torch.equal(merged, F.merge_rows(features, *triples)) and merged.is_contiguous()


VALID: dict[str, Any] = {
    "features": torch.ones(4, 2),
    "target": torch.tensor([0, 1, 1]),
    "source": torch.tensor([2, 3, 0]),
    "coefficient": torch.ones(3),
}
BAD = [
    ("features", torch.ones(4), ValueError),
    ("features", torch.ones(4, 2, dtype=torch.float64), TypeError),
    ("features", [[1.0]], TypeError),
    ("target", torch.tensor([0, 1, 4]), ValueError),
    ("target", torch.tensor([0, -1, 1]), ValueError),
    ("target", torch.tensor([0, 1]), ValueError),
    ("target", torch.tensor([[0, 1, 1]]), ValueError),
    ("target", torch.tensor([0.0, 1.0, 1.0]), TypeError),
    ("target", torch.tensor([True, False, True]), TypeError),
    ("target", torch.tensor([0, 1, 1], device="meta"), ValueError),
    ("source", torch.tensor([0, 4, 1]), ValueError),
    ("source", torch.tensor([0, -1, 1]), ValueError),
    ("source", torch.tensor([0, 1, 2, 3]), ValueError),
    ("source", torch.tensor([0.0, 1.0, 1.0]), TypeError),
    ("source", torch.tensor([0, 1, 1], device="meta"), ValueError),
    ("coefficient", torch.ones(2), ValueError),
    ("coefficient", torch.ones(3, 1), ValueError),
    ("coefficient", torch.ones(3, dtype=torch.int64), TypeError),
    ("coefficient", torch.ones(3, dtype=torch.float64), TypeError),
    ("coefficient", torch.tensor([1.0, NAN, 1.0]), ValueError),
    ("coefficient", torch.tensor([1.0, 1.0, -INF]), ValueError),
    ("coefficient", torch.ones(3, device="meta"), ValueError),
    ("coefficient", torch.ones(3, requires_grad=True), ValueError),
    ("backend", "scatter", ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_bad_arguments_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        F.merge_rows(**{**VALID, name: value})


def test_no_row_can_be_named_where_there_are_none() -> None:
    first = torch.tensor([0])
    with pytest.raises(ValueError, match="target: expected entries from 0 to -1, got 0 to 0"):
        F.merge_rows(torch.ones(0, 2), first, first, torch.ones(1))


TARGETS, SOURCES = [0, -1, 1, 4, 2, 2], [3, 0, 7, 0, -5, 1]


@pytest.mark.parametrize("own", [None, [False, True, True, False]])
def test_unchecked_triples_out_of_range_count_as_none(own: list[bool] | None) -> None:
    """Called below the checks, as for tensors of a device: row 1 has no triple that counts, row 2 has one."""
    features = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    merged = torch.ops.seats_ops.merge_rows(
        features,
        torch.tensor(TARGETS),
        torch.tensor(SOURCES),
        torch.full((6,), 10.0),
        None if own is None else torch.tensor(own),
        F.merge_rows.__kwdefaults__["backend"],  # type: ignore[attr-defined]
    )
    assert merged.flatten().tolist() == ([40.0, 2.0, 20.0, 4.0] if own is None else [40.0, 2.0, 23.0, 0.0])


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs kernels on CPU tensors")
def test_triton_is_refused_on_cpu_tensors() -> None:
    with pytest.raises(BackendUnavailable, match="triton"):
        F.merge_rows(**VALID, backend="triton")
