"""A float64 proof that a set of tokens is a greedy max-min selection."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seats_ops.ops.max_min_diversity.op import FIRST
from seats_ops.testing.selection import NEAR_TIE

DISTANCE_ERROR = 1e-6
"""What a float32 cosine of a few thousand channels may be off; decides between candidates that nearly coincide."""

_MAX_STATES = 20_000


@dataclass(frozen=True)
class GreedyCertificate:
    """Outcome of `certify_greedy`. `bool(certificate)` is True when the selection was accepted.

    Attributes:
        order: per window the token numbers (from the window's start) in a pick order that proves the selection.
        worst_gap: per window the largest `(best candidate - picked) / |best candidate|` in that order.
        reason: why the selection was refused, empty if it was accepted.

    Example:
        >>> from seats_ops.testing import GreedyCertificate
        >>> bool(GreedyCertificate(order=(), worst_gap=(), reason="window 0: 2 tokens kept, expected 3"))
        False
    """

    order: tuple[tuple[int, ...], ...]
    worst_gap: tuple[float, ...]
    reason: str = ""

    def __bool__(self) -> bool:
        return not self.reason


def certify_greedy(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    keep_mask: Tensor,
    *,
    weights: Tensor | None = None,
    first: str = "spread",
    near_tie: float = NEAR_TIE,
    distance_error: float = DISTANCE_ERROR,
) -> GreedyCertificate:
    """Is `keep_mask` what weighted greedy max-min selection by cosine distance may return (SEATS section 3.1)?

    Replays the greedy choice in float64 and looks for an order of the kept tokens in which every pick is the best of
    all candidates, up to `near_tie` of the best value plus `distance_error` times the largest weight; a first pick by
    weight alone is free of rounding, and must be the first of the largest weights. It judges the set
    that was returned, not agreement with another implementation, so it also holds where near-ties let two correct
    float32 implementations part ways.

    Args:
        features: finite float [T, D].
        cu_seqlens: integer [W+1].
        num_keep: integer [W].
        keep_mask: bool [T].
        weights: finite float [T] or None.
        first: "spread" or "weight", as it was given to `max_min_diversity`.

    Raises:
        ValueError: features or weights are not finite; such data has no greedy order. An unknown `first`, or "weight"
            without weights.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> from seats_ops.testing import certify_greedy, clustered_features
        >>> problem = clustered_features(40, 8, seed=0), torch.tensor([0, 25, 40]), torch.tensor([5, 4])
        >>> keep_mask = F.max_min_diversity(*problem)
        >>> bool(certify_greedy(*problem, keep_mask)), bool(certify_greedy(*problem, ~keep_mask))
        (True, False)
    """
    if first not in FIRST or (first == "weight" and weights is None):
        raise ValueError(f"first: expected one of {FIRST}, and weights with 'weight', got {first!r}")
    values = torch.ones(len(features), dtype=torch.float64, device="cpu") if weights is None else weights
    if not bool(torch.isfinite(features).all()) or not bool(torch.isfinite(values).all()):
        raise ValueError("features, weights: expected finite numbers")
    bounds = cu_seqlens.tolist()
    orders: list[tuple[int, ...]] = []
    gaps: list[float] = []
    for window, (start, end) in enumerate(itertools.pairwise(bounds)):
        kept = torch.nonzero(keep_mask[start:end].cpu()).flatten().tolist()
        wanted = min(int(num_keep[window]), end - start)
        if len(kept) != wanted:
            return _refuse(orders, gaps, f"window {window}: {len(kept)} tokens kept, expected {wanted}")
        search = _Window(features[start:end], values[start:end], kept, near_tie, distance_error, first)
        found = [(tuple(kept), 0.0)] if wanted == end - start else search.solve()
        if not found:
            return _refuse(orders, gaps, f"window {window}: {search.obstacle}")
        orders.append(found[0][0])
        gaps.append(found[0][1])
    return GreedyCertificate(tuple(orders), tuple(gaps))


def _refuse(orders: list[tuple[int, ...]], gaps: list[float], reason: str) -> GreedyCertificate:
    return GreedyCertificate(tuple(orders), tuple(gaps), reason)


class _Window:
    """Depth-first search over pick orders of the kept tokens; it branches only where two of them nearly tie."""

    def __init__(
        self, features: Tensor, weights: Tensor, kept: list[int], near_tie: float, error: float, first: str
    ) -> None:
        rows = features.detach().cpu().double()
        rows = rows / (rows.norm(dim=1, keepdim=True) + 1e-8)
        self.distance = 1.0 - rows @ rows.T
        self.weights = weights.detach().cpu().double()
        self.kept = kept
        self.near_tie = near_tie
        self.by_weight = first == "weight"
        self.slack = error * float(self.weights.abs().max()) if len(weights) else 0.0
        self.obstacle = "no order found within the search limit"

    def solve(self) -> list[tuple[tuple[int, ...], float]]:
        """One (order, worst gap), or nothing."""
        if not self.kept:
            return [((), 0.0)]
        seen: set[frozenset[int]] = set()
        if self.by_weight:
            start = torch.ones_like(self.weights)
        else:
            start = self.distance.topk(2, dim=0, largest=False).values[1]
        stack: list[tuple[tuple[int, ...], float, Tensor]] = [((), 0.0, start)]
        while stack and len(seen) < _MAX_STATES:
            picked, worst, nearest = stack.pop()
            if picked:
                nearest = torch.minimum(nearest, self.distance[picked[-1]]) if picked[1:] else self.distance[picked[0]]
            if len(picked) == len(self.kept):
                return [(picked, worst)]
            if frozenset(picked) not in seen:
                seen.add(frozenset(picked))
                stack.extend((order, max(worst, gap), nearest) for order, gap in self._extensions(picked, nearest))
        return []

    def _extensions(self, picked: tuple[int, ...], nearest: Tensor) -> list[tuple[tuple[int, ...], float]]:
        """Admissible next picks with their gaps, the best one last so that it is tried first."""
        score = (self.weights * nearest).tolist()
        for j in picked:
            score[j] = -math.inf
        best = max(score)
        rest = sorted(set(self.kept) - set(picked), key=lambda j: (score[j], -j))
        floor = best - self.near_tie * abs(best) - self.slack
        admissible = [j for j in rest if score[j] >= floor]
        if self.by_weight and not picked:
            admissible = [j for j in rest if j == score.index(best)]
        if not admissible:
            self.obstacle = (
                f"pick {len(picked) + 1}: token {score.index(best)} scores {best:.6g}, "
                f"the best of the kept rest, token {rest[-1]}, only {score[rest[-1]]:.6g}"
            )
        scale = max(abs(best), 1e-300)
        return [((*picked, j), (best - score[j]) / scale) for j in admissible]
