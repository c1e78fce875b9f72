"""temporal_similarity against float64, one pair of rows at a time."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import BackendUnavailable
from seats_ops import functional as F
from seats_ops.ops.temporal_similarity import reference
from seats_ops.testing.strategies import id_dtypes, seeds, value_dtypes


def plain_cosines(features: Tensor, partner: Tensor, missing: float, eps: float) -> list[float]:
    """The formula in Python's floats."""
    rows = features.double().tolist()
    found = []
    for x, other in zip(rows, partner.tolist(), strict=True):
        if other < 0:
            found.append(missing)
            continue
        y = rows[other]
        norms = [math.sqrt(sum(value * value for value in row)) + eps for row in (x, y)]
        found.append(sum(a * b for a, b in zip(x, y, strict=True)) / (norms[0] * norms[1]))
    return found


def random_pairs(total: int, channels: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of many sizes, some of them zero, with partners before and after them and none."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(total, channels, generator=random)
    features *= torch.tensor([0.0, 0.01, 1.0, 50.0])[torch.randint(4, (total, 1), generator=random)]
    return features, torch.randint(-1, total, (total,), generator=random)


@settings(max_examples=80)
@given(
    st.integers(1, 40),
    st.integers(1, 20),
    st.sampled_from([0.0, 1.0, -2.5, math.inf, -math.inf]),
    st.sampled_from([1e-8, 1e-6, 0.5]),
    seeds(),
    value_dtypes(),
    id_dtypes(),
)
def test_matches_plain_python(
    total: int, channels: int, missing: float, eps: float, seed: int, dtype: torch.dtype, ids: torch.dtype
) -> None:
    features, partner = random_pairs(total, channels, seed)
    features, partner = features.to(dtype), partner.to(ids)
    before = features.clone(), partner.clone()

    similarity = F.temporal_similarity(features, partner, missing=missing, eps=eps)

    assert similarity.dtype == torch.float32 and similarity.shape == (total,)
    expected = torch.tensor(plain_cosines(features, partner, missing, eps))
    torch.testing.assert_close(similarity, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(features, before[0]) and torch.equal(partner, before[1])


def test_frames_of_a_clip() -> None:
    """Equal, turned and opposite places of two frames; the first frame has no other before it."""
    first = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    second = torch.tensor([[1.0, 0.0], [5.0, 0.0], [-4.0, -4.0]])
    partner = torch.tensor([-1, -1, -1, 0, 1, 2])
    similarity = F.temporal_similarity(torch.cat([first, second]), partner, missing=math.inf)
    torch.testing.assert_close(similarity, torch.tensor([math.inf] * 3 + [1.0, 0.0, -1.0]))


@pytest.mark.parametrize("channels", [1, 7, 100, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_pair_has_one_cosine_wherever_it_stands(channels: int, dtype: torch.dtype) -> None:
    """In either order, at any place: to the last bit."""
    pair = torch.randn(2, channels, generator=torch.Generator().manual_seed(channels)).to(dtype)
    alone = F.temporal_similarity(pair, torch.tensor([1, 0]))
    assert alone[0] == alone[1]
    row, total = torch.arange(61) % 2, 61
    many = F.temporal_similarity(pair[row], torch.where(row == 0, total - 2, (total - 1) // 2))
    assert bool((many == alone[0]).all())


def test_a_pair_of_wide_rows_has_one_cosine_wherever_it_stands() -> None:
    """Of more channels than torch adds up alike in rows that are alone and in rows with others; in two parts."""
    pair = torch.randn(2, 40000, generator=torch.Generator().manual_seed(0))
    row = torch.arange(27) % 2
    many = F.temporal_similarity(pair[row], torch.where(row == 0, 25, 12), backend="reference")
    assert len(set(many.tolist())) == 1


@pytest.mark.parametrize("cells", [1, 40, 130, 10**6])
def test_the_size_of_parts_changes_no_bit(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features, partner = random_pairs(53, 40, seed=1)
    whole = F.temporal_similarity(features, partner)
    monkeypatch.setattr(reference, "CELLS", cells)
    assert torch.equal(F.temporal_similarity(features, partner), whole)


def test_rows_of_zeros_have_cosine_zero() -> None:
    features = torch.tensor([[0.0, 0.0], [0.0, -0.0], [3.0, 4.0]])
    for eps in (1e-8, 1e-30, 2.0**-126):
        assert F.temporal_similarity(features, torch.tensor([0, 2, 1]), missing=7.0, eps=eps).tolist() == [0.0] * 3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
def test_a_row_without_a_finite_norm_has_no_cosine(bad: float) -> None:
    """Whatever stands beside it, and with nobody else changed; a token without a partner is just that."""
    features = torch.tensor([[bad, 1.0], [0.0, 0.0], [1.0, 2.0], [2.0, 4.0], [bad, 0.0]])
    partner = torch.tensor([1, 0, 3, 2, -1])
    similarity = F.temporal_similarity(features, partner, missing=5.0)
    assert similarity.isnan().tolist() == [True, True, False, False, False]
    torch.testing.assert_close(similarity[2:], torch.tensor([1.0, 1.0, 5.0]))


@pytest.mark.parametrize("size", [1e-12, 1e-3, 1e3, 1e18])
def test_norms_whose_product_float32_cannot_hold(size: float) -> None:
    features = torch.tensor([[1.0, 2.0, 2.0], [2.0, 1.0, -2.0]]) * torch.tensor([[size], [1.0]])
    expected = plain_cosines(features.double(), torch.tensor([0, 0]), 0.0, 1e-20)
    torch.testing.assert_close(
        F.temporal_similarity(features, torch.tensor([0, 0]), eps=1e-20), torch.tensor(expected), rtol=1e-6, atol=1e-7
    )
    largest = torch.full((2, 1), math.sqrt(torch.finfo(torch.float32).max) * (1 - 1e-7))
    assert F.temporal_similarity(largest, torch.tensor([1, 0])).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_no_tokens(backend: str) -> None:
    empty = F.temporal_similarity(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), backend=backend)
    assert empty.shape == (0,) and empty.dtype == torch.float32


def test_no_token_has_a_partner() -> None:
    features = torch.full((4, 3), math.nan)
    assert F.temporal_similarity(features, torch.full((4,), -1), missing=-math.inf).tolist() == [-math.inf] * 4


def test_non_contiguous_inputs() -> None:
    features, partner = random_pairs(30, 12, seed=2)
    strided = features.T.contiguous().T, partner.repeat_interleave(3)[::3]
    assert not any(x.is_contiguous() for x in strided)
    torch.testing.assert_close(
        F.temporal_similarity(*strided), F.temporal_similarity(features, partner), rtol=1e-6, atol=1e-7
    )


VALID: dict[str, Any] = {"features": torch.ones(4, 2), "partner": torch.tensor([-1, 0, 3, 1])}
BAD = [
    ("features", torch.ones(4), ValueError),
    ("features", torch.ones(4, 0), ValueError),
    ("features", torch.ones(4, 2, dtype=torch.float64), TypeError),
    ("partner", torch.tensor([-1, 0, 3]), ValueError),
    ("partner", torch.tensor([[-1, 0, 3, 1]]), ValueError),
    ("partner", torch.tensor([-1, 0, 4, 1]), ValueError),
    ("partner", torch.tensor([-2, 0, 3, 1]), ValueError),
    ("partner", torch.tensor([-1.0, 0.0, 3.0, 1.0]), TypeError),
    ("partner", torch.tensor([True, False, True, True]), TypeError),
    ("partner", torch.tensor([-1, 0, 3, 1], device="meta"), ValueError),
    ("missing", math.nan, ValueError),
    ("missing", 1e39, ValueError),
    ("missing", "0", TypeError),
    ("missing", True, TypeError),
    ("eps", 0.0, ValueError),
    ("eps", -1e-8, ValueError),
    ("eps", 1e-60, ValueError),
    ("backend", "cosine", ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_bad_arguments_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        F.temporal_similarity(**{**VALID, name: value})


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs kernels on CPU tensors")
def test_triton_is_refused_on_cpu_tensors() -> None:
    with pytest.raises(BackendUnavailable, match="triton"):
        F.temporal_similarity(**VALID, backend="triton")
