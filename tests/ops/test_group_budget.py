"""group_budget against the level that fills a row, found in fractions, and against published rules."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import BackendUnavailable
from seats_ops import functional as F
from seats_ops.testing import packed_offsets
from seats_ops.testing.strategies import id_dtypes, seeds, value_dtypes

Real = list[Fraction]


def at_level(level: Fraction, shares: Real, lower: list[int], upper: list[int]) -> Real:
    bounds = zip(shares, lower, upper, strict=True)
    return [min(max(level * share, Fraction(low)), Fraction(high)) for share, low, high in bounds]


def filled(shares: Real, lower: list[int], upper: list[int], total: int) -> Real:
    """clip(c * share, lower, upper) that adds up to the total: between which two corners lies c?"""
    corners = sorted({Fraction(b) / s for s, *both in zip(shares, lower, upper, strict=True) if s for b in both})
    full = corners and at_level(corners[-1], shares, lower, upper)
    if not full or sum(full) < total:
        # What has a share is full; the rest is shared alike.
        rest = [g for g, share in enumerate(shares) if not share]
        full = [Fraction(u) for u in upper]
        if rest:
            left = total - sum(u for g, u in enumerate(upper) if g not in rest)
            alike = filled([Fraction(1)] * len(rest), [lower[g] for g in rest], [upper[g] for g in rest], left)
            for g, budget in zip(rest, alike, strict=True):
                full[g] = budget
        return full
    before = Fraction(0)
    for corner in corners:
        here, last = (at_level(level, shares, lower, upper) for level in (corner, before))
        if sum(here) >= total:
            rise = sum(here) - sum(last)
            part = (total - sum(last)) / rise if rise else Fraction(0)
            # Every budget is a straight line between two corners.
            return [a + part * (b - a) for a, b in zip(last, here, strict=True)]
        before = corner
    raise AssertionError("no level fills the row")


def plain_budgets(shares: Real, lengths: list[int], total: int, minimum: int) -> list[int]:
    """One row."""
    lower = [min(minimum, length) for length in lengths]
    total = max(min(total, sum(lengths)), sum(lower))
    real = filled([s if n else Fraction(0) for s, n in zip(shares, lengths, strict=True)], lower, lengths, total)
    whole = [math.floor(budget) for budget in real]
    order = sorted(range(len(real)), key=lambda g: (whole[g] - real[g], g))
    for g in order[: total - sum(whole)]:
        whole[g] += 1
    return whole


rows = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), max_size=9),
        st.integers(0, 90),
    ),
    max_size=4,
)


@settings(max_examples=120, deadline=None)
@given(rows, st.integers(0, 6), value_dtypes(), id_dtypes())
def test_matches_the_level_that_fills_a_row(
    rows: list[tuple[list[tuple[int, int]], int]], minimum: int, dtype: torch.dtype, ids: torch.dtype
) -> None:
    """Small whole shares are exact in every dtype, and have many ties and zeros."""
    groups = [group for row, _ in rows for group in row]
    scores = torch.tensor([share for share, _ in groups]).to(dtype)
    lengths, totals = (torch.tensor(x, dtype=ids) for x in ([n for _, n in groups], [total for _, total in rows]))
    before = scores.clone(), lengths.clone(), totals.clone()

    budgets = F.group_budget(
        scores, lengths, totals, packed_offsets([len(row) for row, _ in rows], ids), minimum=minimum
    )

    expected = [
        budget
        for row, total in rows
        for budget in plain_budgets([Fraction(share) for share, _ in row], [n for _, n in row], total, minimum)
    ]
    assert budgets.dtype == torch.int64 and budgets.tolist() == expected
    assert all(torch.equal(a, b) for a, b in zip((scores, lengths, totals), before, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.sampled_from(["even", "peaked", "wide"]), st.integers(0, 3), seeds())
def test_real_shares(groups: int, style: str, minimum: int, seed: int) -> None:
    """Rounded to integers and never across a bound; within a token of the level, whose shares are not rounded."""
    random = torch.Generator().manual_seed(seed)
    scores = torch.rand(groups, generator=random)
    scores = {"even": scores + 5, "peaked": scores**9, "wide": (60 * (scores - 0.5)).exp2()}[style]
    lengths = torch.randint(0, 200, (groups,), generator=random)
    total = int(torch.randint(0, int(lengths.sum()) + 9, (1,), generator=random))
    budgets = F.group_budget(scores, lengths, torch.tensor([total]), packed_offsets([groups]), minimum=minimum)
    lower = lengths.clamp(max=minimum)
    reach = max(min(total, int(lengths.sum())), int(lower.sum()))
    assert int(budgets.sum()) == reach and bool(((budgets >= lower) & (budgets <= lengths)).all())
    shares = [Fraction(score) if n else Fraction(0) for score, n in zip(scores.tolist(), lengths.tolist(), strict=True)]
    for budget, real in zip(budgets.tolist(), filled(shares, lower.tolist(), lengths.tolist(), reach), strict=True):
        assert abs(budget - real) < 1 + 1e-4


def softmax_budgets(scores: list[float], temperature: float, length: int, total: int) -> tuple[list[int], float]:
    """V-CAST: floors and largest remainders of a softmax that no bound touches; how near a remainder is to a tie."""
    powers = [math.exp((score - max(scores)) / temperature) for score in scores]
    real = [total * power / sum(powers) for power in powers]
    assert all(1 <= budget <= length for budget in real)
    order = sorted(range(len(real)), key=lambda g: (math.floor(real[g]) - real[g], g))
    extra = total - sum(math.floor(budget) for budget in real)
    budgets = [math.floor(budget) + (g in order[:extra]) for g, budget in enumerate(real)]
    remainders = sorted((budget % 1 for budget in real), reverse=True)
    ends = [abs(budget - round(budget)) for budget in real]
    return budgets, min(*ends, remainders[extra - 1] - remainders[extra] if 0 < extra < len(real) else 1.0)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("temperature", [0.3, 0.7, 5.0])
def test_a_softmax_over_frames(seed: int, temperature: float) -> None:
    scores = torch.rand(24, generator=torch.Generator().manual_seed(seed))
    expected, tie_distance = softmax_budgets(scores.tolist(), temperature, 196, 700)
    offsets, totals = packed_offsets([24]), torch.tensor([700])
    budgets = F.group_budget(scores, torch.full((24,), 196), totals, offsets, temperature=temperature, minimum=1)
    assert tie_distance > 1e-6 and budgets.tolist() == expected


def test_a_softmax_is_as_exact_as_its_units() -> None:
    """A million tokens show a share to six digits; NaN has none."""
    scores = torch.tensor([0.0, -1.0, -3.0, -7.0, -11.0, -30.0, math.nan, -math.inf])
    budgets = F.group_budget(
        scores, torch.full((8,), 10**7), torch.tensor([10**6]), packed_offsets([8]), temperature=1.0
    )
    powers = [math.exp(score) for score in scores[:5].tolist()]
    for budget, power in zip(budgets.tolist(), powers, strict=False):
        assert abs(budget - 10**6 * power / sum(powers)) < 1.001
    assert budgets[5:].tolist() == [0, 0, 0]


def test_proportions_stay_where_no_bound_is_met() -> None:
    lengths, offsets = torch.tensor([100, 100, 100]), packed_offsets([3])
    assert F.group_budget(torch.tensor([1.0, 2.0, 3.0]), lengths, torch.tensor([60]), offsets).tolist() == [10, 20, 30]


def test_what_a_full_group_leaves_goes_to_the_others_in_proportion() -> None:
    scores, lengths = torch.tensor([10.0, 2.0, 1.0]), torch.tensor([10, 50, 50])
    assert F.group_budget(scores, lengths, torch.tensor([40]), packed_offsets([3])).tolist() == [10, 20, 10]


def test_the_side_that_weighs_more_is_locked_first() -> None:
    """Of 30 tokens 2.5, 22.5 and 5: locking both ends at once would leave the first group at 3."""
    scores, lengths = torch.tensor([1.0, 9.0, 2.0]), torch.tensor([40, 12, 40])
    budgets = F.group_budget(scores, lengths, torch.tensor([30]), packed_offsets([3]), minimum=3)
    assert budgets.tolist() == [6, 12, 12]
    # Of 12 tokens 1, 9 and 2: the minimum weighs more here.
    lengths = torch.tensor([40, 8, 40])
    assert F.group_budget(scores, lengths, torch.tensor([12]), packed_offsets([3]), minimum=3).tolist() == [3, 6, 3]


def test_equal_remainders_go_to_the_first_groups() -> None:
    totals = [0, 1, 2, 3, 4, 5, 13, 44, 45]
    ones, lengths = torch.ones(45), torch.full((45,), 9)
    budgets = F.group_budget(ones, lengths, torch.tensor(totals), packed_offsets([5] * 9)).view(9, 5)
    assert budgets.tolist() == [[(total + 4 - g) // 5 for g in range(5)] for total in totals]


@pytest.mark.parametrize("temperature", [None, 0.5])
@pytest.mark.parametrize("fill", [0.0, math.nan, math.inf])
def test_without_any_share_all_have_the_same(fill: float, temperature: float | None) -> None:
    lengths = torch.tensor([3, 9, 0, 9])
    budgets = F.group_budget(
        torch.full((4,), fill), lengths, torch.tensor([14]), packed_offsets([4]), temperature=temperature
    )
    assert budgets.tolist() == [3, 6, 0, 5]


def test_groups_without_a_share_are_last() -> None:
    scores, lengths = torch.tensor([0.0, math.nan, 1.0, 3.0]), torch.tensor([5, 5, 4, 4])
    for total, expected in ((4, [0, 0, 1, 3]), (8, [0, 0, 4, 4]), (11, [2, 1, 4, 4]), (99, [5, 5, 4, 4])):
        assert F.group_budget(scores, lengths, torch.tensor([total]), packed_offsets([4])).tolist() == expected
    assert F.group_budget(scores, lengths, torch.tensor([8]), packed_offsets([4]), minimum=1).tolist() == [1, 1, 2, 4]


def test_infinite_shares_are_equal_and_leave_nothing() -> None:
    scores, lengths = torch.tensor([math.inf, 1.0, math.inf]), torch.full((3,), 9)
    assert F.group_budget(scores, lengths, torch.tensor([7]), packed_offsets([3])).tolist() == [4, 0, 3]
    budgets = F.group_budget(scores, lengths, torch.tensor([7]), packed_offsets([3]), temperature=0.1)
    assert budgets.tolist() == [4, 0, 3]


@pytest.mark.parametrize("size", [2.0**-149, 2.0**-130, 1e-30, 2.0**100])
def test_the_size_of_shares_does_not_matter(size: float) -> None:
    """Down to the smallest numbers of float32, which have no exponent of their own."""
    scores, lengths = torch.tensor([1.0, 3.0, 0.0, 2.0]), torch.full((4,), 50)
    budgets = F.group_budget(scores * size, lengths, torch.tensor([60]), packed_offsets([4]))
    assert budgets.tolist() == [10, 30, 0, 20]


def test_many_tokens() -> None:
    """Products of a share and a total that 63 bits just hold."""
    most = 2**31 - 1
    scores, lengths = torch.tensor([2.0 - 2**-23, 1.0, 2.0**-40]), torch.tensor([most - 10, 5, 5])
    budgets = F.group_budget(scores, lengths, torch.tensor([most - 1]), packed_offsets([3]))
    assert budgets.tolist() == [most - 10, 5, 4]


def test_every_row_is_alone() -> None:
    random = torch.Generator().manual_seed(3)
    sizes = [5, 0, 17, 1]
    scores, lengths = torch.rand(23, generator=random), torch.randint(0, 30, (23,), generator=random)
    totals, together = torch.tensor([40, 3, 100, 9]), packed_offsets(sizes)
    budgets = F.group_budget(scores, lengths, totals, together, minimum=2, max_groups=20)
    parts = zip(scores.split(sizes), lengths.split(sizes), totals, strict=True)
    alone = [F.group_budget(s, n, t[None], packed_offsets([len(s)]), minimum=2) for s, n, t in parts]
    assert torch.equal(budgets, torch.cat(alone))


def test_more_tokens_take_from_no_group() -> None:
    """In real numbers; rounding may move one token."""
    random = torch.Generator().manual_seed(4)
    scores, lengths = torch.rand(12, generator=random), torch.randint(1, 20, (12,), generator=random)
    totals = torch.arange(0, int(lengths.sum()) + 1, 5)
    many = totals.shape[0]
    budgets = F.group_budget(scores.repeat(many), lengths.repeat(many), totals, packed_offsets([12] * many))
    assert bool((budgets.view(many, 12).diff(dim=0) >= -1).all()) and budgets.view(many, 12).sum(1).equal(totals)


@pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
def test_no_groups(sizes: list[int]) -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    totals = torch.full((len(sizes),), 5)
    assert F.group_budget(torch.zeros(0), nothing, totals, packed_offsets(sizes)).shape == (0,)


def test_non_contiguous_inputs() -> None:
    scores, lengths, totals = torch.rand(6), torch.tensor([3, 9, 4, 0, 9, 2]), torch.tensor([7, 6])
    strided = [x.repeat_interleave(2)[::2] for x in (scores, lengths, totals)]
    offsets = packed_offsets([4, 2])
    assert torch.equal(F.group_budget(*strided, offsets), F.group_budget(scores, lengths, totals, offsets))


VALID: dict[str, Any] = {
    "scores": torch.ones(4),
    "lengths": torch.tensor([3, 3, 3, 3]),
    "totals": torch.tensor([2, 4]),
    "cu_groups": torch.tensor([0, 1, 4]),
}
BAD = [
    ("scores", torch.ones(4, 1), ValueError),
    ("scores", torch.ones(4, dtype=torch.int64), TypeError),
    ("scores", torch.tensor([1.0, 1.0, -1.0, 1.0]), ValueError),
    ("lengths", torch.tensor([3, 3, 3]), ValueError),
    ("lengths", torch.tensor([3, 3, 3, -1]), ValueError),
    ("lengths", torch.tensor([3, 2**30, 2**30, 2**30]), ValueError),
    ("lengths", torch.tensor([3, 2**62, 2**62, 2**62]), ValueError),
    ("lengths", torch.tensor([3.0, 3.0, 3.0, 3.0]), TypeError),
    ("lengths", torch.tensor([3, 3, 3, 3], device="meta"), ValueError),
    ("totals", torch.tensor([2]), ValueError),
    ("totals", torch.tensor([2, -4]), ValueError),
    ("totals", torch.tensor([2.0, 4.0]), TypeError),
    ("cu_groups", torch.tensor([0, 1, 5]), ValueError),
    ("cu_groups", torch.tensor([1, 1, 4]), ValueError),
    ("temperature", 0.0, ValueError),
    ("temperature", math.inf, ValueError),
    ("temperature", "1", TypeError),
    ("minimum", -1, ValueError),
    ("minimum", 1.0, TypeError),
    ("max_groups", 2, ValueError),
    ("max_groups", 3.0, TypeError),
    ("backend", "floor", ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_bad_arguments_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        F.group_budget(**{**VALID, name: value})


def test_negative_scores_have_a_softmax() -> None:
    given = {**VALID, "scores": torch.tensor([-1.0, -2.0, -2.0, -2.0])}
    assert F.group_budget(**given, temperature=1.0).tolist() == [2, 2, 1, 1]


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs kernels on CPU tensors")
def test_triton_is_refused_on_cpu_tensors() -> None:
    with pytest.raises(BackendUnavailable, match="triton"):
        F.group_budget(**VALID, backend="triton")


def test_the_same_budgets_as_by_the_reference() -> None:
    """Softmax and all, bit by bit: nothing is compared but integers."""
    random = torch.Generator().manual_seed(5)
    sizes = [60, 3, 0, 40]
    scores, lengths = torch.randn(103, generator=random), torch.randint(0, 300, (103,), generator=random)
    totals: Tensor = torch.tensor([4000, 100, 7, 1234])
    for temperature in (0.07, 0.7, 11.0):
        results = [
            F.group_budget(scores, lengths, totals, packed_offsets(sizes), temperature=temperature, minimum=3, **by)
            for by in ({}, {"backend": "reference"})
        ]
        assert torch.equal(*results)
