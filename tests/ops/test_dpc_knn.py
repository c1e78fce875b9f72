"""dpc_knn against plain Python, on data with margins and on data whose ties are exact."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import BackendUnavailable
from seats_ops import functional as F
from seats_ops.testing import clustered_features, near_constant_saliency, packed_offsets, tied_features
from seats_ops.testing.strategies import id_dtypes, seeds, segment_lengths, value_dtypes
from tests.ops.dpc_oracle import exact_order, line, wrong

flags = st.booleans()
NAN, INF = float("nan"), float("inf")


def grid(total: int) -> Tensor:
    """(t, h, w) of tokens in frames of two by three, over their extents."""
    token = torch.arange(total)
    return torch.stack([token // 6 / max(1, total // 6), token // 3 % 2 / 2, token % 3 / 3], 1)


@settings(max_examples=60)
@given(
    segment_lengths(max_segments=2, max_length=14),
    st.integers(1, 6),
    st.sampled_from(["euclidean", "cosine"]),
    flags,
    flags,
    flags,
    flags,
    seeds(),
    value_dtypes(),
    id_dtypes(),
)
def test_matches_plain_python(
    lengths: list[int],
    num_neighbors: int,
    metric: str,
    include_self: bool,
    squared: bool,
    scaled: bool,
    placed: bool,
    seed: int,
    dtype: torch.dtype,
    ids: torch.dtype,
) -> None:
    total = sum(lengths)
    features = clustered_features(total, 24, seed=seed, dtype=dtype)
    options: dict[str, Any] = {"num_neighbors": num_neighbors, "metric": metric}
    options |= {"include_self": include_self, "squared": squared}
    if scaled:
        options["density_scale"] = 1 + 0.35 * near_constant_saliency(total, seed=seed, spread=1.0, dtype=dtype)
    if placed:
        options |= {"offsets": grid(total).to(dtype), "offset_weight": 0.2}
    got = F.dpc_knn(features, packed_offsets(lengths, ids), **options)
    assert got.dtype == torch.float32 and got.shape == (total,)
    assert not wrong(got, features, lengths, **options)


@settings(max_examples=60)
@given(segment_lengths(max_segments=2, max_length=20), st.integers(1, 6), flags, flags, seeds())
def test_exact_ties_go_to_the_lowest_index(
    lengths: list[int], num_neighbors: int, include_self: bool, squared: bool, seed: int
) -> None:
    """Whole numbers on a line: equal densities are equal in every order of summation."""
    features, options = line(lengths, seed), {"include_self": include_self, "squared": squared}
    got = F.dpc_knn(features, packed_offsets(lengths), num_neighbors=num_neighbors, **options)
    expected, _ = exact_order(features, lengths, num_neighbors=num_neighbors, **options)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float32), rtol=1e-5, atol=0)
    if not include_self or num_neighbors > 1:
        return
    # The token itself is its only neighbour: all densities are 1, and the distances decide.
    assert torch.equal(got, torch.tensor(expected, dtype=torch.float32))


@settings(max_examples=30)
@given(
    st.integers(1, 40), st.integers(1, 5), st.integers(1, 6), flags, st.sampled_from(["euclidean", "cosine"]), seeds()
)
def test_of_equal_tokens_only_the_first_can_be_a_centre(
    length: int, kinds: int, num_neighbors: int, include_self: bool, metric: str, seed: int
) -> None:
    """Equal rows have equal densities and distance 0, wherever they stand.

    In the reference whatever the rows hold; of whole numbers in kernels too, where a product of others may depend on
    its place in a tile: NumPy's, in the interpreter, does.
    """
    base = clustered_features(kinds, 40, seed=seed, spread=1.0)
    copies = torch.randint(kinds, (length,), generator=torch.Generator().manual_seed(seed))
    options: dict[str, Any] = {"num_neighbors": num_neighbors, "metric": metric, "include_self": include_self}
    first = torch.tensor([copies[:place].tolist().count(int(kind)) == 0 for place, kind in enumerate(copies)])
    for got in (
        F.dpc_knn(base[copies], packed_offsets([length]), **options, backend="reference"),
        F.dpc_knn((base * 8).round()[copies], packed_offsets([length]), **options),
    ):
        assert bool((got[~first] == 0).all())
    # Densities of whole numbers this large are 0 by the euclidean distance.
    got = F.dpc_knn(base[copies], packed_offsets([length]), **options, backend="reference")
    assert len(set(copies.tolist())) == 1 or bool((got[first] > 0).all())


def test_constant_features_leave_the_lowest_indices() -> None:
    got = F.dpc_knn(torch.full((9, 5), 0.3), packed_offsets([9]), num_neighbors=4)
    keep = F.segment_topk(got, torch.zeros(9, dtype=torch.int64), torch.tensor([3]))
    assert got.tolist() == [0.0] * 9 and keep.nonzero().flatten().tolist() == [0, 1, 2]


def test_walsh_rows_tie_whatever_the_metric() -> None:
    """All different rows are equally far from each other: the first of each kind scores, the others are its copies."""
    features = tied_features(48, seed=2, kinds=4)
    for metric in ("euclidean", "cosine"):
        got = F.dpc_knn(features, packed_offsets([48]), num_neighbors=1, metric=metric)
        kinds = [row.tolist() for row in features]
        assert [value > 0 for value in got.tolist()] == [row not in kinds[:i] for i, row in enumerate(kinds)]


def test_two_clusters_by_hand() -> None:
    """(0, 1, 2) and (7, 8, 9) on a line: rho of a centre is exp(-2/3), of the others exp(-5/3)."""
    features = torch.tensor([[0.0], [1.0], [2.0], [7.0], [8.0], [9.0]])
    got = F.dpc_knn(features, torch.tensor([0, 6]), num_neighbors=3)
    centre, other = torch.tensor([-2 / 3, -5 / 3]).exp().tolist()
    torch.testing.assert_close(got, torch.tensor([other, centre * 8, other, other, centre * 7, other]))


def test_offsets_change_the_distance_of_the_row_that_they_are_of() -> None:
    """Equal features; the row-wise min-max makes the farthest token of every row equally far: d is not symmetric."""
    features, offsets = torch.ones(3, 2), torch.tensor([[0.0], [1.0], [3.0]])
    options: dict[str, Any] = {"offsets": offsets, "offset_weight": 0.5, "num_neighbors": 1, "include_self": False}
    got = F.dpc_knn(features, packed_offsets([3]), squared=False, **options)
    d = torch.tensor([[0, 1 / 3, 1], [1 / 2, 0, 1], [1, 2 / 3, 0]]) * 0.5
    rho = torch.tensor([-1 / 6, -1 / 4, -1 / 3]).exp()
    torch.testing.assert_close(got, rho * torch.stack([d[0, 2], d[1, 0], d[2, 1]]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("lengths", [[], [0], [0, 0], [1], [1, 0, 1], [0, 2, 0], [17]])
@pytest.mark.parametrize("include_self", [True, False])
def test_unusual_sizes(lengths: list[int], include_self: bool) -> None:
    features = clustered_features(sum(lengths), 8, seed=0)
    options: dict[str, Any] = {"num_neighbors": 3, "include_self": include_self}
    got = F.dpc_knn(features, packed_offsets(lengths), **options)
    assert not wrong(got, features, lengths, **options)


def test_a_token_alone_is_as_dense_as_can_be() -> None:
    """Its only distance is to itself: 0, and for a zero vector a cosine distance of 1, as cos = 0 by the 1e-8."""
    for include_self in (True, False):
        options: dict[str, Any] = {"num_neighbors": 2, "include_self": include_self}
        assert F.dpc_knn(torch.ones(1, 3), torch.tensor([0, 1]), **options).tolist() == [0.0]
        zero = F.dpc_knn(torch.zeros(1, 3), torch.tensor([0, 1]), metric="cosine", **options)
        torch.testing.assert_close(zero, torch.tensor([-1.0 if include_self else 0.0]).exp())


@settings(max_examples=30)
@given(
    segment_lengths(min_segments=1, max_segments=2, max_length=12),
    flags,
    flags,
    seeds(),
    st.sampled_from(["euclidean", "cosine"]),
)
def test_tokens_that_are_not_finite_score_lowest_and_count_for_nobody(
    lengths: list[int], include_self: bool, placed: bool, seed: int, metric: str
) -> None:
    random = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    features, offsets = clustered_features(total, 12, seed=seed), grid(total)
    bad = torch.rand(total, generator=random) < 0.3
    special = torch.tensor([NAN, INF, -INF, 3e38])[torch.randint(4, (total,), generator=random)]
    where = torch.rand(total, generator=random) < 0.5 if placed else torch.zeros(total, dtype=torch.bool)
    features[:, 3] = torch.where(bad & ~where, special, features[:, 3])
    offsets[:, 1] = torch.where(bad & where, special, offsets[:, 1])
    options: dict[str, Any] = {"num_neighbors": 3, "include_self": include_self, "metric": metric}
    placement: dict[str, Any] = {"offset_weight": 0.2} if placed else {}
    got = F.dpc_knn(
        features, packed_offsets(lengths), **options, **placement, **({"offsets": offsets} if placed else {})
    )
    left = [int(part.sum()) for part in (~bad).split(lengths)]
    given = {**options, **placement, **({"offsets": offsets[~bad]} if placed else {})}
    assert bool((got[bad] == -INF).all())
    assert not wrong(got[~bad], features[~bad], left, **given)


def test_scales_that_are_not_finite() -> None:
    """NaN counts as 0, infinity as the largest number, and so does a score beyond it."""
    features = clustered_features(6, 4, seed=0)
    got = F.dpc_knn(
        features, packed_offsets([6]), num_neighbors=2, density_scale=torch.tensor([1.0, NAN, INF, 1.0, 1.0, 1.0])
    )
    assert got.isfinite().all() and got[1] == 0 and got.argmax() == 2


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("size", [1e-30, 1e18])
def test_tiny_and_huge_features_have_finite_scores(size: float, metric: str) -> None:
    features = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)) * size
    assert F.dpc_knn(features, packed_offsets([9]), num_neighbors=3, metric=metric).isfinite().all()


@settings(max_examples=6)
@given(segment_lengths(min_segments=2, max_segments=2, max_length=20), seeds())
def test_segments_do_not_see_each_other(lengths: list[int], seed: int) -> None:
    features = line(lengths, seed)
    got = F.dpc_knn(features, packed_offsets(lengths), num_neighbors=4)
    alone = [F.dpc_knn(part, packed_offsets([len(part)]), num_neighbors=4) for part in features.split(lengths)]
    torch.testing.assert_close(got, torch.cat(alone), rtol=1e-6, atol=0)


def test_rows_in_blocks_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [90, 0, 40, 1]
    features = clustered_features(131, 16, seed=1)
    options: dict[str, Any] = {"num_neighbors": 5, "include_self": False, "offsets": grid(131), "offset_weight": 0.2}
    got = F.dpc_knn(features, packed_offsets(lengths), **options, backend="reference")
    monkeypatch.setattr("seats_ops.ops.dpc_knn.reference.CELLS", 700)
    again = F.dpc_knn(features, packed_offsets(lengths), **options, backend="reference")
    torch.testing.assert_close(got, again, rtol=1e-6, atol=0)


def test_memory_layout_max_seqlen_and_inputs() -> None:
    features, scale, offsets = clustered_features(23, 12, seed=1), near_constant_saliency(23, seed=1), grid(23)
    cu_seqlens = packed_offsets([9, 0, 14])
    inputs = (features, cu_seqlens, scale, offsets)
    before = [x.clone() for x in inputs]
    options: dict[str, Any] = {"num_neighbors": 3, "offset_weight": 0.1}

    got = F.dpc_knn(features, cu_seqlens, density_scale=scale, offsets=offsets, **options)

    strided = features.T.contiguous().T, scale.repeat_interleave(2)[::2], offsets.T.contiguous().T
    again = F.dpc_knn(strided[0], cu_seqlens, density_scale=strided[1], offsets=strided[2], **options)
    assert torch.equal(got, again)
    for max_seqlen in (14, 23, 500):
        options["max_seqlen"] = max_seqlen
        assert torch.equal(got, F.dpc_knn(features, cu_seqlens, density_scale=scale, offsets=offsets, **options))
    for tensor, copy in zip(inputs, before, strict=True):
        assert torch.equal(tensor, copy)


def test_index_names_the_rows_of_the_segments() -> None:
    features = clustered_features(30, 8, seed=2)
    index = torch.tensor([29, 3, 4, 4, 17, 0, 8, 9, 21, 2, 1, 28], dtype=torch.int32)
    offsets, scale = packed_offsets([5, 7]), near_constant_saliency(12, seed=2)
    got = F.dpc_knn(features, offsets, num_neighbors=3, density_scale=scale, index=index)
    assert torch.equal(got, F.dpc_knn(features[index.long()], offsets, num_neighbors=3, density_scale=scale))
    assert F.dpc_knn(features, packed_offsets([]), num_neighbors=1, index=index[:0]).shape == (0,)


def test_more_neighbors_than_tokens() -> None:
    features = clustered_features(20, 8, seed=2)
    for many in (20, 10**30):
        got = F.dpc_knn(features, packed_offsets([20]), num_neighbors=many, backend="reference")
        assert not wrong(got, features, [20], num_neighbors=20)


VALID: dict[str, Any] = {
    "features": torch.ones(6, 4),
    "cu_seqlens": torch.tensor([0, 2, 6]),
    "num_neighbors": 2,
    "density_scale": torch.ones(6),
    "offsets": torch.ones(6, 3),
    "offset_weight": 0.5,
}
BAD = [
    ("features", torch.ones(6), ValueError),
    ("features", torch.ones(6, 0), ValueError),
    ("features", torch.ones(6, 4, dtype=torch.int64), TypeError),
    ("features", [[1.0]], TypeError),
    ("cu_seqlens", torch.tensor([0.0, 2.0, 6.0]), TypeError),
    ("cu_seqlens", torch.tensor([0, 7, 6]), ValueError),
    ("cu_seqlens", torch.tensor([0, 2, 5]), ValueError),
    ("cu_seqlens", torch.tensor([0, 2, 6], device="meta"), ValueError),
    ("num_neighbors", 0, ValueError),
    ("num_neighbors", 2.0, TypeError),
    ("num_neighbors", True, TypeError),
    ("metric", "manhattan", ValueError),
    ("include_self", 1, TypeError),
    ("squared", None, TypeError),
    ("density_scale", torch.ones(5), ValueError),
    ("density_scale", torch.full((6,), -1.0), ValueError),
    ("density_scale", torch.ones(6, dtype=torch.int64), TypeError),
    ("offsets", torch.ones(6), ValueError),
    ("offsets", torch.ones(5, 3), ValueError),
    ("offsets", torch.ones(6, 0), ValueError),
    ("offsets", torch.ones(6, 3, dtype=torch.int64), TypeError),
    ("offset_weight", -0.1, ValueError),
    ("offset_weight", NAN, ValueError),
    ("offset_weight", "1", TypeError),
    ("index", torch.tensor([0, 1, 2, 3, 4, 6]), ValueError),
    ("index", torch.ones(6), TypeError),
    ("max_seqlen", 3, ValueError),
    ("max_seqlen", 4.0, TypeError),
    ("backend", "cuda", ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_bad_arguments_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        F.dpc_knn(**{**VALID, name: value})


def test_a_weight_without_offsets_is_refused() -> None:
    with pytest.raises(ValueError, match="offset_weight"):
        F.dpc_knn(**{**VALID, "offsets": None})


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs kernels on CPU tensors")
def test_triton_is_refused_on_cpu_tensors() -> None:
    with pytest.raises(BackendUnavailable, match="triton"):
        F.dpc_knn(**VALID, backend="triton")
