"""Means of the results and their differences from random, with bootstrap intervals over items."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import bootstrap

from benchmarks.results import read

from .run import REAL

RANDOM = "random"
FULL, NOTHING, SMALLER = "full", "nothing", "smaller frames"
"""Controls: all tokens, none, and all tokens of frames that have the ratio's share of pixels."""
RESAMPLES, CONFIDENCE, SEED = 2000, 0.95, 0


class Difference(NamedTuple):
    """Of a method from random, item by item: mean, and the percentile interval of it."""

    mean: float
    low: float
    high: float


class Results:
    """Of one kind of items, "clip" or "sound"; on each, random is the mean of its seeds."""

    def __init__(self, kind: str, path: Path = REAL) -> None:
        rows = [row for row in read(path) if row["kind"] == kind]
        if not rows:
            raise ValueError(f"{path}: expected items of kind {kind!r}, got none")
        self._cells: list[dict[str, dict[str, dict[str, float]]]] = [row["cells"] for row in rows]
        self.count = len(rows)
        self.ratios = [ratio for ratio in self._cells[0] if ratio != "1"]

    def names(self, ratio: str) -> list[str]:
        """Methods and controls at a ratio, seeds of random as one."""
        return list(dict.fromkeys(_plain(key) for key in self._cells[0][ratio]))

    def values(self, ratio: str, name: str, number: str) -> np.ndarray | None:
        """float64 [items]; None where the method has no such number."""
        kept = [[one for key, one in cells[ratio].items() if _plain(key) == name] for cells in self._cells]
        if any(not same or number not in same[0] for same in kept):
            return None
        return np.array([np.mean([one[number] for one in same]) for same in kept])

    def mean(self, ratio: str, name: str, number: str) -> float | None:
        values = self.values(ratio, name, number)
        return None if values is None else float(values.mean())

    def against_random(self, ratio: str, name: str, number: str) -> Difference | None:
        """None where the method has no such number."""
        ours, random = self.values(ratio, name, number), self.values(ratio, RANDOM, number)
        if ours is None or random is None:
            return None
        gaps = ours - random
        if not gaps.any():
            return Difference(0.0, 0.0, 0.0)
        options: dict[str, Any] = {"n_resamples": RESAMPLES, "confidence_level": CONFIDENCE, "method": "percentile"}
        interval = bootstrap((gaps,), np.mean, rng=np.random.default_rng(SEED), **options).confidence_interval
        return Difference(float(gaps.mean()), float(interval.low), float(interval.high))


def _plain(key: str) -> str:
    """A seed of random is random."""
    return RANDOM if key.startswith(f"{RANDOM} ") else key
