"""Greedy selection by determinants in NumPy: one segment, one pick, one candidate after the other."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from seats_ops.testing.dpp_certificate import VARIANCE_ERROR

DECIDED = float("inf")
# What counts as rounding, by the contract.
NOISE = 3e-5


def brute_force(features: Tensor, num_keep: int, quality: Tensor | None) -> tuple[list[int], float]:
    """Picks of one segment in order, and the smallest relative gap between a pick and its runner-up.

    The gain of j is det L[P + j] / det L[P], the Schur complement of L[P] in L[P + j]. Picks without a gain are left
    out of P: with them L[P] has no inverse. A gap that float32 cannot resolve counts as none at all.
    """
    x = features.double().numpy()
    n = len(x)
    q = np.ones(n) if quality is None else quality.double().numpy()
    x = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-8)
    cosine = x @ x.T
    picks: list[int] = []
    given: list[int] = []
    smallest_gap = DECIDED
    for _ in range(min(num_keep, n)):
        gain = [_left(cosine, given, j) * q[j] ** 2 for j in range(n)]
        candidates = [j for j in range(n) if j not in picks]
        best = max(candidates, key=lambda j: (gain[j], -j))
        # Exact ties are decided by index.
        others = [gain[j] for j in candidates if j != best and gain[j] != gain[best]]
        if others:
            difference = gain[best] - max(others) - VARIANCE_ERROR * q.max() ** 2
            smallest_gap = min(smallest_gap, difference / max(gain[best], 1e-300))
        picks.append(best)
        if gain[best] > 0:
            given.append(best)
    return picks, (DECIDED if num_keep >= n else max(smallest_gap, 0.0))


def _left(cosine: np.ndarray, given: list[int], j: int) -> float:
    """Variance of j given some others, of unit quality."""
    left = cosine[j, j]
    if given:
        left = left - cosine[j, given] @ np.linalg.solve(cosine[np.ix_(given, given)], cosine[given, j])
    # 1 is not always 1 in float64, and no gap between two of them is one.
    return float(round(left, 12)) if left > NOISE else 0.0
