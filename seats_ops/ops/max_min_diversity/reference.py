"""max_min_diversity in PyTorch: a Python loop over greedy steps only, all windows of similar length at once.

The weight of a candidate does not depend on what was picked, so it factorises out of the running minimum: only the
unweighted minimum is kept. The distances of a group of windows stay in memory if they fit MATRIX_CELLS; a window that
is longer than that allows is served by one row of distances per step, and by tiles of rows for its first pick.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from seats_ops.ops.products import packed, packs, products
from seats_ops.ops.segments import PaddedGroup, padded_groups, scatter_padded
from seats_ops.validation import longest_segment, reads_are_free

# Distances held for one group of windows (float32: 64 MiB).
MATRIX_CELLS = 2**24
# Features made unit length at once, and distances looked at once: what fits a core's cache (float32: 4 and 1 MiB).
FEATURE_CELLS = 2**20
TILE_CELLS = 2**18
# Rows multiplied at once: short enough to leave out most of the lower half, long enough for the product to be fast.
PRODUCT_ROWS = 176
EPS = 1e-8
FARTHEST = 2.0
LOWEST = torch.finfo(torch.float32).min


def max_min_diversity(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    weights: Tensor | None,
    index: Tensor | None,
    max_seqlen: int,
    _max_keep: int | None,
    first: str,
) -> Tensor:
    """See `api.max_min_diversity`."""
    total = features.shape[0] if index is None else index.shape[0]
    keep_mask = torch.zeros(total, dtype=torch.bool, device=features.device)
    for group, _, picked in _pick_groups(features, cu_seqlens, num_keep, weights, index, max_seqlen, first):
        keep_mask = scatter_padded(keep_mask, group, picked)
    return keep_mask


def max_min_order(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    weights: Tensor | None = None,
    max_seqlen: int | None = None,
    first: str = "spread",
) -> Tensor:
    """The picks of `max_min_diversity` in the order they were made, for tests and for studying a selection.

    Returns:
        int64 [W, K], K the largest number of picks: positions inside the window, -1 after the last pick.
    """
    if max_seqlen is None:
        max_seqlen = longest_segment(cu_seqlens)
    groups = list(_pick_groups(features, cu_seqlens, num_keep, weights, None, max_seqlen, first))
    width = max((order.shape[1] for _, order, _ in groups), default=0)
    result = torch.full((num_keep.shape[0], width), -1, dtype=torch.int64, device=features.device)
    for group, order, _ in groups:
        result[group.segments, : order.shape[1]] = order
    return result


def _pick_groups(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    weights: Tensor | None,
    index: Tensor | None,
    max_seqlen: int,
    first: str,
) -> Iterator[tuple[PaddedGroup, Tensor, Tensor]]:
    """For every group of windows: the group, pick order [G, K] (-1 after the last), picked bool [G, n]."""
    index = None if index is None else index.long()
    for group in padded_groups(cu_seqlens, max_seqlen, 1, MATRIX_CELLS):
        w = features.new_ones((), dtype=torch.float32) if weights is None else weights[group.index].float().nan_to_num()
        valid = torch.ones_like(group.index, dtype=torch.bool) if group.valid is None else group.valid
        wanted = torch.minimum(num_keep[group.segments].long(), valid.sum(1))
        rows = group.index if index is None else index[group.index]
        distances = _Distances(features, rows, valid, padded=group.valid is not None)
        yield group, *_greedy(distances, w.to(features.device), valid, wanted, first)


def _greedy(distances: _Distances, weights: Tensor, valid: Tensor, wanted: Tensor, first: str) -> tuple[Tensor, Tensor]:
    num_windows, width = valid.shape
    # Without a free look at the counts, run as many steps as a window can need; finished windows pick nothing.
    steps = int(wanted.max()) if reads_are_free(wanted) else width
    windows = torch.arange(num_windows, dtype=torch.int64, device=valid.device)
    candidate = valid.clone()
    order = torch.full((num_windows, steps), -1, dtype=torch.int64, device=valid.device)
    nearest = distances.second_smallest() if steps and first == "spread" else weights.new_ones(valid.shape)
    for step in range(steps):
        value = (weights * nearest).clamp(min=LOWEST)
        pick = torch.where(candidate, value, -torch.inf).argmax(1)
        active = step < wanted
        order[:, step] = torch.where(active, pick, -1)
        candidate[windows, pick] &= ~active
        row = distances.row(pick)
        nearest = row if step == 0 else torch.minimum(nearest, row)
    return order, valid & ~candidate


class _Distances:
    """1 - cos between the tokens of each window of a group; `rows` [G, n] are their places in `features`.

    A token without a direction is at distance 0 as a candidate and at distance FARTHEST from all others once picked.
    """

    def __init__(self, features: Tensor, rows: Tensor, valid: Tensor, padded: bool) -> None:
        num_windows, width = rows.shape
        self.valid, self.padded = valid, padded
        self.windows = torch.arange(num_windows, dtype=torch.int64, device=features.device)
        self.matrix: Tensor | None = None
        if num_windows * width**2 > MATRIX_CELLS:
            self.x = _directions(features[rows])
            self.odd = self.x[..., 0].isnan()
        else:
            self.matrix = features.new_empty((num_windows, width, width), dtype=torch.float32)
            self.odd = torch.empty_like(valid)
            at_once = max(1, FEATURE_CELLS // (width * features.shape[1]))
            for start in range(0, num_windows, at_once):
                some = slice(start, start + at_once)
                x = _directions(features[rows[some]])
                _fill(self.matrix[some], x)
                self.odd[some] = x[..., 0].isnan()
        # Where looking is free, passes over the matrix are spared.
        self.may_be_odd = not reads_are_free(self.odd) or bool(self.odd.any())

    def row(self, token: Tensor) -> Tensor:
        """[G] picked token of each window -> [G, n] distances of the candidates to it."""
        if self.matrix is not None:
            distance = self.matrix[self.windows, token]
        else:
            distance = (1.0 - self.x[self.windows, token][:, None] @ self.x.mT).squeeze(1)
        if not self.may_be_odd:
            return distance
        return torch.where(distance.isnan(), torch.where(self.odd, 0.0, FARTHEST), distance)

    def second_smallest(self) -> Tensor:
        """[G, n] second-smallest distance of every token, its own included (d is symmetric); 0 in windows of one."""
        num_windows, width = self.valid.shape
        if width == 1:
            return torch.zeros(self.valid.shape, dtype=torch.float32, device=self.valid.device)
        rows_per_tile = max(1, TILE_CELLS // (num_windows * width))
        tiles = []
        for start in range(0, width, rows_per_tile):
            rows = slice(start, start + rows_per_tile)
            d = 1.0 - self.x[:, rows] @ self.x.mT if self.matrix is None else self.matrix[:, rows]
            if self.may_be_odd:
                d = torch.where(d.isnan(), torch.where(self.odd[:, rows, None], 0.0, FARTHEST), d)
            if self.padded:
                d = torch.where(self.valid[:, None, :], d, torch.inf)
            tiles.append(d.topk(2, dim=-1, largest=False).values[..., 1])
        return torch.cat(tiles, 1).nan_to_num(posinf=0.0)


def _fill(matrix: Tensor, x: Tensor) -> None:
    """[G, n, n] = 1 - products of [G, n, D]: some rows at a time, from the diagonal on, and mirrored."""
    _, width, channels = x.shape
    if packs(min(width, PRODUCT_ROWS), min(width, PRODUCT_ROWS), channels, x):
        for one, rows in zip(matrix, x, strict=True):
            parts = [packed(part) for part in rows.split(PRODUCT_ROWS)]
            tiles = [line.split(PRODUCT_ROWS, 1) for line in one.split(PRODUCT_ROWS)]
            for i, j in itertools.combinations_with_replacement(range(len(parts)), 2):
                torch.sub(1.0, products(parts[i], parts[j]).to_dense(), out=tiles[i][j])
                if i < j:
                    tiles[j][i].copy_(tiles[i][j].T)
        return
    for start in range(0, width, PRODUCT_ROWS):
        rows, rest = slice(start, start + PRODUCT_ROWS), slice(start + PRODUCT_ROWS, None)
        torch.sub(1.0, x[:, rows] @ x[:, start:].mT, out=matrix[:, rows, start:])
        matrix[:, rest, rows] = matrix[:, rows, rest].mT


def _directions(x: Tensor) -> Tensor:
    """[G, n, D] -> the same in float32 with unit length; NaN where there is none."""
    x = x.float()
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    # With the added eps a zero vector is at distance 1 from everything, itself included.
    return x / torch.where(norm.isfinite(), norm + EPS, torch.nan)
