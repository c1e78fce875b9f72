"""dpc_knn in PyTorch: all segments of similar length at once, long ones by blocks of rows.

Features are multiplied in float64. In float32 a product depends, in its last bits, on where in a matrix it stands, so
that equal tokens would differ a little from each other and ties would go anywhere; rounded to float32, these do not.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from seats_ops.ops.segments import PaddedGroup, padded_groups, scatter_padded
from seats_ops.validation import reads_are_free

# Distances held at once (float32: 64 MiB), and elements of features (float64: 128 MiB); one segment may have more.
CELLS = 2**24
EPS = 1e-8
OFFSET_EPS = 1e-6
LARGEST = torch.finfo(torch.float32).max
RESOLUTION = torch.finfo(torch.float64).eps


def dpc_knn(
    features: Tensor,
    cu_seqlens: Tensor,
    num_neighbors: int,
    metric: str,
    include_self: bool,
    squared: bool,
    density_scale: Tensor | None,
    offsets: Tensor | None,
    offset_weight: float,
    index: Tensor | None,
    max_seqlen: int,
) -> Tensor:
    """See `api.dpc_knn`."""
    total = features.shape[0] if index is None else index.shape[0]
    scores = torch.zeros(total, dtype=torch.float32, device=features.device)
    for group in padded_groups(cu_seqlens, max_seqlen, features.shape[1], CELLS):
        rows = group.index if index is None else index.long()[group.index]
        place = None if offsets is None else offsets[group.index]
        distances = _Distances(features[rows], metric, place, offset_weight, group)
        scale = None if density_scale is None else density_scale[group.index].float().nan_to_num().clamp(min=0.0)
        density = _densities(distances, num_neighbors, include_self, squared)
        density = density if scale is None else density * scale
        block = (density * _separations(distances, density)).clamp(max=LARGEST)
        scores = scatter_padded(scores, group, torch.where(distances.there, block, -torch.inf))
    return scores


class _Distances:
    """Between the tokens of each segment of a group: [G, n, n] in blocks of rows, all at once where they fit CELLS.

    `there` [G, n] says which tokens have any.
    """

    def __init__(self, x: Tensor, metric: str, place: Tensor | None, weight: float, group: PaddedGroup) -> None:
        self.cosine, self.weight = metric == "cosine", weight
        # Where this is not finite, no product need be.
        square = x.float().square().sum(-1)
        self.there = square.isfinite()
        if place is not None:
            place = place.float()
            self.there &= place.square().sum(-1).isfinite()
            place = torch.where(self.there[..., None], place, 0.0)
        if group.valid is not None:
            self.there &= group.valid
        # Where looking is free, passes over the matrix are spared.
        self.some_absent = not reads_are_free(self.there) or not bool(self.there.all())
        norm = torch.where(self.there, square, 0.0).sqrt()
        self.x = torch.where(self.there[..., None], x, 0.0).double()
        if self.cosine:
            self.x /= (norm + EPS)[..., None]
        self.square = self.x.square().sum(-1)
        # How far 1e-8 in its norm takes a token's cosine with itself from 1, halved: 0 unless the norm is tiny.
        self.lack = (1.0 - (norm / (norm + EPS)).square()) / 2
        self.place = place
        num_segments, self.width = square.shape
        self.at_once = min(self.width, max(1, CELLS // (num_segments * self.width)))
        self.held = self._rows(slice(0, self.width)) if self.at_once == self.width else None

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Positions [r] of some rows, and their distances [G, r, n], which are not to be changed."""
        position = torch.arange(self.width, dtype=torch.int64, device=self.x.device)
        for start in range(0, self.width, self.at_once):
            rows = slice(start, start + self.at_once)
            yield position[rows], self._rows(rows) if self.held is None else self.held

    def _rows(self, rows: slice) -> Tensor:
        own, channels = self.square[:, rows, None], self.x.shape[-1]
        apart = torch.baddbmm(self.square[:, None, :], self.x[:, rows], self.x.mT, alpha=-2.0).add_(own)
        # At most this is what products leave of equal tokens.
        apart.masked_fill_(apart <= own * (4 * RESOLUTION * channels), 0.0)
        distance = apart.float()
        if self.cosine:
            distance.div_(2.0).add_(self.lack[:, rows, None] + self.lack[:, None, :])
        else:
            distance.sqrt_().mul_(channels**-0.5)
        if self.place is not None:
            away = self._away(rows)
            distance.add_(away.div_(self.largest(away)[..., None] + OFFSET_EPS), alpha=self.weight)
        return distance.clamp_(max=LARGEST)

    def largest(self, distance: Tensor) -> Tensor:
        """[G, r] of each row of a block, among tokens that are there."""
        present = torch.where(self.there[:, None, :], distance, 0.0) if self.some_absent else distance
        return present.amax(-1)

    def _away(self, rows: slice) -> Tensor:
        """[G, r, n] distances of the offsets; coordinates are few."""
        assert self.place is not None
        away = self.x.new_zeros((), dtype=torch.float32)
        for coordinate in self.place.unbind(-1):
            away = away + (coordinate[:, rows, None] - coordinate[:, None]).square()
        return away.sqrt().clamp(max=LARGEST)


def _densities(distances: _Distances, num_neighbors: int, include_self: bool, squared: bool) -> Tensor:
    """[G, n]; 1 where there is no neighbour."""
    there, width = distances.there, distances.width
    position = torch.arange(width, dtype=torch.int64, device=there.device)
    others = there.sum(1) - (0 if include_self else 1)
    count = others.clamp(max=num_neighbors)[:, None]
    parts = []
    for rows, distance in distances.blocks():
        value = distance.square() if squared else distance.clone()
        if distances.some_absent:
            value.masked_fill_(~there[:, None, :], torch.inf)
        if not include_self:
            value.masked_fill_(position == rows[:, None], torch.inf)
        nearest = value.topk(min(num_neighbors, width), dim=-1, largest=False).values
        # One after the other, the nearest first, so that equal neighbours add up to equal sums.
        total = torch.zeros(value.shape[:2], dtype=torch.float32, device=there.device)
        for place in range(nearest.shape[-1]):
            total = torch.where(place < count, total + nearest[..., place], total)
        parts.append((-total / count.clamp(min=1)).exp())
    return torch.cat(parts, 1)


def _separations(distances: _Distances, density: Tensor) -> Tensor:
    """[G, n] distance to the nearest denser token, the largest of its row for a segment's densest one."""
    # Places in the order of falling density, of equal ones the first first; who is not there comes last.
    order = torch.where(distances.there, density, -1.0).sort(dim=1, descending=True, stable=True).indices
    rank = order.argsort(1)
    parts = []
    for rows, distance in distances.blocks():
        nearest = torch.where(rank[:, None] < rank[:, rows, None], distance, torch.inf).amin(-1)
        parts.append(torch.where(nearest.isinf(), distances.largest(distance), nearest))
    return torch.cat(parts, 1)
