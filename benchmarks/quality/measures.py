"""The numbers of a cell: accuracy with its interval, what was kept, how far from the full model, at which cost."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.outcomes import FULL, Answers, Cost, Results
from benchmarks.quality.statistics import Interval, wilson


@dataclass(frozen=True)
class Measured:
    """Of a contender on some tasks, means over tasks of means over models, and over draws of means.

    Attributes:
        accuracy: with Wilson's interval of all items.
        by_model: accuracies.
        spread: the least and the highest accuracy of a draw, where there are several.
        executed: share of the media tokens that layers saw.
        recall: share of the objects and tones in question of which a token is there in the last layer that reads
            media; None on tasks without any.
        mass: share of the full model's attention to media that falls on tokens that are still there.
        agreement: share of answers that are those of the full model.
        kl: nats, full from pruned.
        items: all, of all models.
    """

    accuracy: Interval
    by_model: dict[str, float]
    spread: tuple[float, float] | None
    executed: float
    recall: float | None
    mass: float
    agreement: float
    kl: float
    items: int


def measured(results: Results, tasks: Sequence[str], name: str, cost: Cost) -> Measured | None:
    """None where the contender cannot reach the cost on any model."""
    return _measured(results, tuple(tasks), name, cost)


@functools.cache
def _measured(results: Results, tasks: tuple[str, ...], name: str, cost: Cost) -> Measured | None:
    cells = [
        (model, task, draws, full[0])
        for task in tasks
        for model, (draws, full) in results.together(task, (name, cost), (FULL, cost)).items()
    ]
    if not cells:
        return None

    def over(what: str) -> float:
        return float(np.mean([np.mean([getattr(one, what).mean() for one in draws]) for _, _, draws, _ in cells]))

    accuracy = over("right")
    items = sum(full.right.size for *_, full in cells)
    models = dict.fromkeys(model for model, *_ in cells)
    by_model = {
        model: float(np.mean([np.mean([one.right.mean() for one in draws]) for m, _, draws, _ in cells if m == model]))
        for model in models
    }
    several = min(len(draws) for _, _, draws, _ in cells)
    by_draw = [np.mean([draws[number].right.mean() for _, _, draws, _ in cells]) for number in range(several)]
    return Measured(
        wilson(accuracy * items, items),
        by_model,
        (float(min(by_draw)), float(max(by_draw))) if several > 1 else None,
        over("seen"),
        _recall(cells),
        over("mass"),
        over("same"),
        over("kl"),
        items,
    )


def _recall(cells: Sequence[tuple[str, str, list[Answers], Answers]]) -> float | None:
    """The full model keeps all: what it found is what there is to find."""
    shares = [
        np.mean([one.found.sum() / full.found.sum() for one in draws])
        for _, _, draws, full in cells
        if full.found.any()
    ]
    return float(np.mean(shares)) if shares else None
