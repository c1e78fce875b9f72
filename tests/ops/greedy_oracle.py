"""Greedy max-min selection in NumPy: one window, one pick, one candidate after the other."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

UNDECIDED = 0.0


DECIDED = float("inf")


def brute_force(
    features: Tensor,
    num_keep: int,
    weights: Tensor | None,
    dtype: type = np.float64,
    first: str = "spread",
) -> tuple[list[int], float]:
    """Picks of one window in order, and the smallest relative gap between a pick and its runner-up.

    A gap that a float32 cosine cannot resolve (1e-6) counts as none at all; a first pick by weight has no cosine in it.
    """
    x = features.float().numpy().astype(dtype)
    n = len(x)
    w = np.ones(n, dtype) if weights is None else weights.float().numpy().astype(dtype)
    x = x / (np.linalg.norm(x, axis=1, keepdims=True) + dtype(1e-8))
    distance = dtype(1) - x @ x.T
    picks: list[int] = []
    smallest_gap = DECIDED
    for _ in range(min(num_keep, n)):
        by_weight = first == "weight" and not picks
        second_smallest = np.sort(distance, axis=0)[min(1, n - 1)]
        score = w if by_weight else w * (distance[picks].min(axis=0) if picks else second_smallest)
        candidates = [j for j in range(n) if j not in picks]
        best = max(candidates, key=lambda j: (score[j], -j))
        others = [score[j] for j in candidates if j != best]
        if others and not by_weight:
            difference = score[best] - max(others) - 1e-6 * np.abs(w).max()
            smallest_gap = min(smallest_gap, float(difference) / max(abs(float(score[best])), 1e-300))
        picks.append(best)
    return picks, (DECIDED if num_keep >= n else max(smallest_gap, UNDECIDED))


def brute_force_mask(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: list[int],
    weights: Tensor | None,
    dtype: type = np.float64,
    first: str = "spread",
) -> tuple[Tensor, list[float]]:
    keep, gaps = torch.zeros(len(features), dtype=torch.bool), []
    bounds = cu_seqlens.tolist()
    for start, end, count in zip(bounds[:-1], bounds[1:], num_keep, strict=True):
        part = None if weights is None else weights[start:end]
        picks, gap = brute_force(features[start:end], count, part, dtype, first)
        keep[[start + j for j in picks]] = True
        gaps.append(gap)
    return keep, gaps


def counts_for(lengths: list[int], seed: int) -> list[int]:
    """Numbers to keep from 0 to a little above the window."""
    random = np.random.default_rng(seed)
    return [int(random.integers(0, n + 3)) for n in lengths]
