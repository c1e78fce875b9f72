"""greedy_dpp in PyTorch: a Python loop over picks only, all segments of similar length at once.

A pick costs one row of similarities and one product with the factors so far: the incremental Cholesky decomposition of
Chen et al. (2018). It is that of S and not of L: the quality of a candidate does not depend on what was picked, so it
factorises out of variances and factors, which then stay in [0, 1] whatever the qualities are. The similarities of a
group of segments stay in memory if they fit MATRIX_CELLS; a longer segment computes one row per pick.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.ops.segments import padded_groups, scatter_padded
from seats_ops.validation import reads_are_free

# Similarities held for one group of segments (float32: 64 MiB), and features made unit length at once (16 MiB).
MATRIX_CELLS = 2**24
FEATURE_CELLS = 2**22
EPS = 1e-8
# Largest variance that counts as rounding: a float32 cosine is off by 1e-6, what hundreds of factors leave by 1e-5.
NOISE = 3e-5


def greedy_dpp(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    quality: Tensor | None,
    index: Tensor | None,
    max_seqlen: int,
    max_keep: int,
) -> Tensor:
    """See `api.greedy_dpp`."""
    total = features.shape[0] if index is None else index.shape[0]
    keep_mask = torch.zeros(total, dtype=torch.bool, device=features.device)
    index = None if index is None else index.long()
    for group in padded_groups(cu_seqlens, max_seqlen, 1, MATRIX_CELLS):
        valid = torch.ones_like(group.index, dtype=torch.bool) if group.valid is None else group.valid
        wanted = torch.minimum(num_keep[group.segments].long(), valid.sum(1))
        # Without a free look at the counts, run as many steps as any segment can need.
        steps = int(wanted.max()) if reads_are_free(wanted) else min(max_keep, valid.shape[1])
        q = features.new_ones((), dtype=torch.float32)
        if quality is not None:
            q = quality[group.index].float().nan_to_num().clamp(min=0.0)
        rows = group.index if index is None else index[group.index]
        picked = _greedy(_Similarities(features, rows), q, valid, wanted, steps)
        keep_mask = scatter_padded(keep_mask, group, picked)
    return keep_mask


def _greedy(similarities: _Similarities, quality: Tensor, valid: Tensor, wanted: Tensor, steps: int) -> Tensor:
    """bool [G, n]: what is picked."""
    num_segments, width = valid.shape
    segments = torch.arange(num_segments, dtype=torch.int64, device=valid.device)
    candidate, left = valid.clone(), similarities.own
    factors = left.new_empty(num_segments, steps, width)
    for step in range(steps):
        # The root of q^2 v, which is ordered the same and does not overflow.
        value = torch.where(candidate, quality * left.sqrt(), -1.0)
        pick = value.argmax(1)
        candidate[segments, pick] &= step >= wanted
        spread = left[segments, pick][:, None]
        known = (factors[segments, :step, pick][:, None] @ factors[:, :step]).squeeze(1)
        factor = (similarities.row(pick) - known) / spread.sqrt()
        # Nothing is explained by a token without variance, and of one without variance nothing is left to explain.
        factors[:, step] = torch.where((spread > 0) & (left > 0), factor, 0.0)
        left = _above_noise(left - factors[:, step] ** 2)
    return valid & ~candidate


class _Similarities:
    """Cosines between the tokens of each segment of a group; `rows` [G, n] are their places in `features`.

    `own` [G, n] are those of the tokens with themselves: 1, but for norms that the added eps is not small against. It
    is computed from norms alone, so that equal ones are exactly equal.
    """

    def __init__(self, features: Tensor, rows: Tensor) -> None:
        num_segments, width = rows.shape
        self.segments = torch.arange(num_segments, dtype=torch.int64, device=features.device)
        self.own = features.new_empty((num_segments, width), dtype=torch.float32)
        self.matrix: Tensor | None = None
        if num_segments * width**2 > MATRIX_CELLS:
            self.unit, self.own = _unit(features[rows])
            return
        self.matrix = features.new_empty((num_segments, width, width), dtype=torch.float32)
        at_once = max(1, FEATURE_CELLS // (width * features.shape[1]))
        for start in range(0, num_segments, at_once):
            some = slice(start, start + at_once)
            unit, self.own[some] = _unit(features[rows[some]])
            torch.matmul(unit, unit.mT, out=self.matrix[some])

    def row(self, token: Tensor) -> Tensor:
        """[G] one token of each segment -> [G, n]."""
        if self.matrix is not None:
            return self.matrix[self.segments, token]
        return (self.unit[self.segments, token][:, None] @ self.unit.mT).squeeze(1)


def _unit(x: Tensor) -> tuple[Tensor, Tensor]:
    """[G, n, D] -> the same in float32 with unit length, 0 where there is no direction; squares of their lengths."""
    x = x.float()
    norm = torch.linalg.vector_norm(x, dim=-1)
    defined = norm.isfinite()
    length = torch.where(defined, norm / (norm + EPS), 0.0)
    return torch.where(defined[..., None], x / (norm + EPS)[..., None], 0.0), _above_noise(length**2)


def _above_noise(variance: Tensor) -> Tensor:
    return torch.where(variance > NOISE, variance, 0.0)
