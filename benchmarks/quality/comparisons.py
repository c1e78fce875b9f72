"""Two contenders on the same items: how far apart, how sure, on how many models; and who loses nothing."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.quality.outcomes import FULL, Answers, Cost, Results
from benchmarks.quality.statistics import SIGNIFICANT, Interval, Resampled, holm, mcnemar_p, tost_p


@dataclass(frozen=True)
class Difference:
    """Accuracy of one contender less that of another.

    Attributes:
        interval: cluster bootstrap over models and items; mean over tasks of means over models.
        by_model: means.
        p: of McNemar's exact test on all pairs; corrected by Holm once it is one of several. Of several draws that of
            the least sure one.
    """

    interval: Interval
    by_model: Mapping[str, float]
    p: float

    @property
    def sure(self) -> bool:
        return self.p < SIGNIFICANT and self.interval.without_zero

    @property
    def agreeing(self) -> int:
        """Models whose difference has the sign of the mean."""
        return sum(value * self.interval.mean > 0 for value in self.by_model.values())


@functools.cache
def resampled(models: tuple[str, ...]) -> Resampled:
    return Resampled(models)


def difference(
    results: Results, tasks: Sequence[str], first: tuple[str, Cost], second: tuple[str, Cost]
) -> Difference | None:
    """First less second. None where they never answered the same items."""
    return _difference(results, tuple(tasks), first, second)


@functools.cache
def _difference(
    results: Results, tasks: tuple[str, ...], first: tuple[str, Cost], second: tuple[str, Cost]
) -> Difference | None:
    pairs = [results.together(task, first, second) for task in tasks]
    pairs = [by_model for by_model in pairs if by_model]
    if not pairs:
        return None
    values = [{model: _right(one) - _right(other) for model, (one, other) in by_model.items()} for by_model in pairs]
    models = [model for model in results.models if any(model in by_model for by_model in values)]
    every = [pair for by_model in pairs for pair in by_model.values()]
    draws = range(min(max(len(one), len(other)) for one, other in every))
    p = max(
        mcnemar_p(*(np.concatenate([_draw(pair[side], draw) for pair in every]) for side in (0, 1))) for draw in draws
    )
    return Difference(
        resampled(results.models).interval(values),
        {model: float(np.mean([one[model].mean() for one in values if model in one])) for model in models},
        p,
    )


def _right(draws: Sequence[Answers]) -> np.ndarray:
    return np.mean([one.right.ravel() for one in draws], axis=0)


def _draw(draws: Sequence[Answers], number: int) -> np.ndarray:
    return draws[min(number, len(draws) - 1)].right.ravel()


def differences(
    results: Results, tasks: Sequence[str], first: str, others: Iterable[str], cost: Cost
) -> dict[str, Difference]:
    """One contender less each of the others that reach the cost, p corrected over all of them."""
    found = {
        other: one
        for other in others
        if other != first and (one := difference(results, tasks, (first, cost), (other, cost))) is not None
    }
    corrected = holm({other: one.p for other, one in found.items()})
    return {other: replace(one, p=corrected[other]) for other, one in found.items()}


def lossless(results: Results, tasks: Sequence[str], names: Iterable[str], cost: Cost) -> dict[str, float]:
    """By contender that reaches the cost, p of the claim that it is within a point of the full model.

    On every model and every task by itself: p is that of the least sure of them, corrected by Holm over contenders.
    """
    found: dict[str, float] = {}
    for name in names:
        pairs = [pair for task in tasks for pair in results.together(task, (name, cost), (FULL, cost)).values()]
        if pairs:
            found[name] = max(tost_p(_right(one), _right(full)) for one, full in pairs)
    return holm(found)
