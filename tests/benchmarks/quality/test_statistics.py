"""Intervals and tests of the quality benchmark against values worked out by hand, and against simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student

pytest.importorskip("statsmodels")

from benchmarks.quality.statistics import Resampled, holm, mcnemar_p, tost_p, wilson


@pytest.mark.parametrize("right, items", [(8, 10), (0, 20), (300, 300), (12.4, 20)])
def test_wilson_is_its_formula(right: float, items: int) -> None:
    z, share = 1.959963984540054, right / items
    middle = (share + z**2 / (2 * items)) / (1 + z**2 / items)
    half = z / (1 + z**2 / items) * math.sqrt(share * (1 - share) / items + z**2 / (4 * items**2))
    found = wilson(right, items)
    assert found.mean == share
    assert (found.low, found.high) == pytest.approx((max(0.0, middle - half), min(1.0, middle + half)))


def test_mcnemar_counts_only_items_on_which_one_is_right() -> None:
    """One against nine: twice the chance of at most one head in ten throws, whatever both answer alike."""
    first = np.array([True] * 9 + [False] + [True] * 50 + [False] * 7)
    second = np.array([False] * 9 + [True] + [True] * 50 + [False] * 7)
    assert mcnemar_p(first, second) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar_p(first, first) == 1.0


def test_holm_multiplies_and_never_falls() -> None:
    """The smallest by three, the next by two, and the last one is not less sure than the one before."""
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.6, "b": 0.9}) == pytest.approx({"a": 1.0, "b": 1.0})
    assert holm({}) == {}


def test_tost_is_two_tests_on_paired_differences() -> None:
    first = np.array([1.0, 0.0] * 400 + [1.0, 1.0, 1.0, 0.0])
    second = np.array([1.0, 0.0] * 400 + [0.0, 1.0, 0.0, 1.0])
    gap = first - second
    error = gap.std(ddof=1) / math.sqrt(len(gap))
    low, high = student.sf((gap.mean() + 0.01) / error, len(gap) - 1), student.cdf((gap.mean() - 0.01) / error, 803)
    assert tost_p(first, second) == pytest.approx(max(low, high))
    assert tost_p(first, second) < 0.05


def test_equal_answers_to_few_items_prove_no_equivalence() -> None:
    """Two hundred items without a change happen in one of seven runs of a contender that loses a point."""
    few, many = np.ones(200), np.ones(2000)
    assert tost_p(few, few) == pytest.approx(0.99**200) and tost_p(few, few) > 0.1
    assert tost_p(many, many) < 1e-6
    assert tost_p(many, np.zeros(2000)) == 1.0


def test_a_loss_of_two_points_is_no_equivalence() -> None:
    first = np.ones(6000)
    second = np.where(np.arange(6000) % 50 == 0, 0.0, 1.0)
    assert tost_p(first, second) > 0.99


def test_on_one_model_items_alone_vary() -> None:
    generator = np.random.default_rng(5)
    values = generator.choice([-1.0, 0.0, 1.0], 3000, p=[0.1, 0.6, 0.3])
    found = Resampled(["one"], resamples=4000).interval([{"one": values}])
    error = 1.959964 * values.std() / math.sqrt(3000)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * error, rel=0.05)


def test_models_that_disagree_make_the_interval_wide() -> None:
    """Of two models both draws are the first in a quarter of the cases, and so with the second."""
    found = Resampled(["a", "b"]).interval([{"a": np.zeros(5000), "b": np.ones(5000)}])
    assert (found.low, found.mean, found.high) == (0.0, 0.5, 1.0)
    assert not found.without_zero


def test_one_draw_of_models_serves_all_tasks() -> None:
    """Else what one model loses on one task would be made up for by another model on the next."""
    a, b = np.zeros(4000), np.ones(4000)
    together = Resampled(["a", "b"]).interval([{"a": a, "b": b}, {"a": a, "b": b}])
    assert (together.low, together.high) == (0.0, 1.0)


def test_a_model_without_a_task_is_left_out_of_it() -> None:
    found = Resampled(["a", "b"]).interval([{"a": np.full(100, 0.5), "b": np.full(100, 0.5)}, {"b": np.ones(100)}])
    assert (found.mean, found.high) == (0.75, 0.75)


def test_intervals_cover_what_they_should() -> None:
    """Ten models around an effect of 5 points, on items of their own: about 95 of 100 intervals hold it."""
    generator, hits, trials = np.random.default_rng(1), 0, 200
    for _ in range(trials):
        effects = generator.normal(0.05, 0.04, 10)
        drawn = {
            str(number): generator.choice([-1.0, 0.0, 1.0], 300, p=[0.1, 0.8 - effect, 0.1 + effect])
            for number, effect in enumerate(np.clip(effects, -0.09, 0.7))
        }
        found = Resampled(list(drawn), resamples=400).interval([drawn])
        hits += found.low <= 0.05 <= found.high
    assert 0.87 <= hits / trials <= 0.98
