"""How sure a number is: intervals, paired tests on the same items, corrections for asking often."""

from __future__ import annotations

import gc
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
MARGIN = 0.01
"""One point: less is no loss."""
RESAMPLES = 2000

Values = NDArray[np.float64]
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Interval:
    """Of a mean, at CONFIDENCE."""

    mean: float
    low: float
    high: float

    @property
    def without_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def wilson(right: float, items: int) -> Interval:
    """Of the share of right answers. `right` is a fraction where it is a mean over draws."""
    low, high = proportion_confint(right, items, alpha=1 - CONFIDENCE, method="wilson")
    return Interval(right / items, float(low), float(high))


def mcnemar_p(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Exact and two-sided, on the items [n] on which just one of both is right."""
    both = [[int((first == one)[second == other].sum()) for other in (True, False)] for one in (True, False)]
    return float(mcnemar(both, exact=True).pvalue)


def holm(values: Mapping[K, float]) -> dict[K, float]:
    """p values corrected for having asked for all of them."""
    if not values:
        return {}
    # It collects garbage first, among all that torch has loaded: a fifth of a second, a hundred times for a page.
    gc.freeze()
    try:
        corrected = multipletests(list(values.values()), method="holm")[1]
    finally:
        gc.unfreeze()
    return dict(zip(values, map(float, corrected), strict=True))


def tost_p(first: Values, second: Values, margin: float = MARGIN) -> float:
    """p of the claim that the means of both on the same items [n] lie less than a margin apart.

    Where no item differs there is no variance to test with. What is left is the chance of that, were it a margin's
    share of items that change: (1 - margin) ** n, which few items do not make small.
    """
    if np.array_equal(first, second):
        return float((1 - margin) ** len(first))
    differences = first - second
    if np.ptp(differences) == 0:
        return 1.0 if abs(differences[0]) >= margin else 0.0
    return float(ttost_paired(first, second, -margin, margin)[0])


class Resampled:
    """A cluster bootstrap: models are drawn with replacement, and from each of them items with replacement.

    One object draws models once, so that means over several tasks are of the same models.
    """

    def __init__(self, models: Sequence[str], seed: int = 0, resamples: int = RESAMPLES) -> None:
        self.models, self.seed = list(models), seed
        self.picks = np.random.default_rng(seed).integers(len(models), size=(resamples, len(models)))

    def means(self, by_model: Mapping[str, Values]) -> Values:
        """[resamples] means of resampled values, [n] each; NaN where only models were drawn that have none."""
        generator = np.random.default_rng([self.seed, 1])
        drawn = np.full(self.picks.shape, np.nan)
        for number, model in enumerate(self.models):
            if model not in by_model:
                continue
            # Drawing n items with replacement is drawing how often each of the few distinct values occurs.
            values, counts = np.unique(np.round(by_model[model], 9), return_counts=True)
            items, where = int(counts.sum()), self.picks == number
            drawn[where] = generator.multinomial(items, counts / items, int(where.sum())) @ values / items
        return _mean(drawn, axis=1)

    def interval(self, by_task: Sequence[Mapping[str, Values]]) -> Interval:
        """Of the mean over tasks of the mean over models of values [n], e.g. of differences between two contenders."""
        means = [np.mean([values.mean() for values in by_model.values()]) for by_model in by_task if by_model]
        resampled = _mean(np.stack([self.means(by_model) for by_model in by_task]), axis=0)
        tail = 50 * (1 - CONFIDENCE)
        low, high = np.nanpercentile(resampled, [tail, 100 - tail])
        return Interval(float(np.mean(means)), float(low), float(high))


def _mean(values: Values, axis: int) -> Values:
    """Of what is there along an axis; NaN where nothing is."""
    there = ~np.isnan(values)
    count = there.sum(axis)
    total = np.where(there, values, 0.0).sum(axis)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
