"""A float64 proof that a set of tokens is a greedy selection of a determinantal point process."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from seats_ops.testing.certificate import GreedyCertificate
from seats_ops.testing.selection import NEAR_TIE

VARIANCE_ERROR = 5e-5
"""What a float32 variance in [0, 1] may be off: the 3e-5 that count as rounding, and the rounding of more than that."""

_MAX_STATES = 20_000


def certify_dpp(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    keep_mask: Tensor,
    *,
    quality: Tensor | None = None,
    near_tie: float = NEAR_TIE,
    variance_error: float = VARIANCE_ERROR,
) -> GreedyCertificate:
    """Is `keep_mask` what `greedy_dpp` may return?

    As `certify_greedy`: looks for an order of the kept tokens in which every pick has the largest variance
    L_jj - L_jP inverse(L_PP) L_Pj given the picks P before it, in float64, up to `near_tie` of the best one plus
    `variance_error` times the square of the segment's largest quality.

    Args:
        features: finite float [T, D].
        cu_seqlens: integer [W+1].
        num_keep: integer [W].
        keep_mask: bool [T].
        quality: finite float [T], >= 0, or None.

    Raises:
        ValueError: features or quality are not finite.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> from seats_ops.testing import certify_dpp, clustered_features
        >>> problem = clustered_features(40, 8, seed=0), torch.tensor([0, 25, 40]), torch.tensor([5, 4])
        >>> keep_mask = F.greedy_dpp(*problem)
        >>> bool(certify_dpp(*problem, keep_mask)), bool(certify_dpp(*problem, ~keep_mask))
        (True, False)
    """
    values = torch.ones(len(features), dtype=torch.float64, device="cpu") if quality is None else quality
    if not bool(torch.isfinite(features).all()) or not bool(torch.isfinite(values).all()):
        raise ValueError("features, quality: expected finite numbers")
    orders: list[tuple[int, ...]] = []
    gaps: list[float] = []
    for segment, (start, end) in enumerate(itertools.pairwise(cu_seqlens.tolist())):
        kept = torch.nonzero(keep_mask[start:end].cpu()).flatten().tolist()
        wanted = min(int(num_keep[segment]), end - start)
        reason, found = f"{len(kept)} tokens kept, expected {wanted}", None
        if len(kept) == wanted:
            search = _Segment(features[start:end], values[start:end], kept, near_tie, variance_error)
            found = (tuple(kept), 0.0) if wanted == end - start else search.solve()
            reason = search.obstacle
        if found is None:
            return GreedyCertificate(tuple(orders), tuple(gaps), f"segment {segment}: {reason}")
        orders.append(found[0])
        gaps.append(found[1])
    return GreedyCertificate(tuple(orders), tuple(gaps))


class _Segment:
    """Depth-first search over pick orders of the kept tokens; it branches only where two of them nearly tie."""

    def __init__(self, features: Tensor, quality: Tensor, kept: list[int], near_tie: float, error: float) -> None:
        rows, q = features.detach().cpu().double(), quality.detach().cpu().double()
        rows = q[:, None] * rows / (rows.norm(dim=1, keepdim=True) + 1e-8)
        self.kernel = rows @ rows.T
        self.kept = kept
        self.near_tie = near_tie
        self.slack = error * float(q.max()) ** 2 if len(q) else 0.0
        self.obstacle = "no order found within the search limit"

    def solve(self) -> tuple[tuple[int, ...], float] | None:
        """Order and worst gap, or nothing."""
        seen: set[frozenset[int]] = set()
        start = self.kernel.diagonal()
        stack: list[tuple[tuple[int, ...], float, Tensor, tuple[Tensor, ...]]] = [((), 0.0, start, ())]
        while stack and len(seen) < _MAX_STATES:
            picked, worst, variance, factors = stack.pop()
            if len(picked) == len(self.kept):
                return picked, worst
            if frozenset(picked) in seen:
                continue
            seen.add(frozenset(picked))
            if picked:
                variance, factors = self._given(picked[-1], variance, factors)
            for pick, gap in self._extensions(picked, variance):
                stack.append(((*picked, pick), max(worst, gap), variance, factors))
        return None

    def _given(self, pick: int, variance: Tensor, factors: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Variances given one more pick; one that was determined by the others tells nothing new."""
        if float(variance[pick]) <= 1e-12 * float(self.kernel[pick, pick]):
            return variance, factors
        row = self.kernel[pick]
        if factors:
            before = torch.stack(factors)
            row = row - before[:, pick] @ before
        factor = row / variance[pick].sqrt()
        return (variance - factor**2).clamp(min=0.0), (*factors, factor)

    def _extensions(self, picked: tuple[int, ...], variance: Tensor) -> list[tuple[int, float]]:
        """Admissible next picks with their gaps; what is tried first is last: the best one, of equals the first."""
        score = variance.tolist()
        for j in picked:
            score[j] = -math.inf
        best = max(score)
        unit = max(best, 1e-300)
        rest = sorted(set(self.kept) - set(picked), key=lambda j: (round(score[j] / unit, 12), -j))
        floor = best - self.near_tie * best - self.slack
        admissible = [j for j in rest if score[j] >= floor]
        if not admissible:
            self.obstacle = (
                f"pick {len(picked) + 1}: token {score.index(best)} has variance {best:.6g}, "
                f"the best of the kept rest, token {rest[-1]}, only {score[rest[-1]]:.6g}"
            )
        return [(j, (best - score[j]) / unit) for j in admissible]
