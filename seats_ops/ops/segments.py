"""Ragged segments on one packed axis: lengths, padded views of bounded size, per-row sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from seats_ops.validation import reads_are_free


@dataclass(frozen=True)
class PaddedGroup:
    """Some segments of similar length, to be gathered into a dense `[G, n, ...]` block.

    Attributes:
        segments: int64 [G], which segments these are.
        index: int64 [G, n], packed positions; padding points at position 0.
        valid: bool [G, n], False at padding; None when no segment is shorter than n.
    """

    segments: Tensor
    index: Tensor
    valid: Tensor | None

    def of(self, packed: Tensor) -> Tensor:
        """[G, n, ...] of a packed tensor [T, ...]; a view of a single segment on the CPU."""
        if self.valid is None and self.index.shape[0] == 1 and reads_are_free(self.index):
            return packed.narrow(0, int(self.index[0, 0]), self.index.shape[1])[None]
        return packed[self.index]


def padded_groups(cu_seqlens: Tensor, max_seqlen: int, cells_per_token: int, cells: int) -> Iterator[PaddedGroup]:
    """All non-empty segments, grouped so that one group of G segments of n tokens has about G * n * max(n,
    cells_per_token) <= `cells` cells (a single segment may exceed that).

    On the CPU, where looking at lengths costs nothing, segments are grouped by the power of two they fit in, so padding
    at most doubles a length; equal lengths are not padded at all. Elsewhere every segment is padded to `max_seqlen`,
    which needs no device read.
    """
    num_segments = cu_seqlens.shape[0] - 1
    if num_segments == 0 or max_seqlen == 0:
        return
    starts = cu_seqlens[:-1].long()
    lengths = cu_seqlens[1:].long() - starts
    if not reads_are_free(cu_seqlens):
        by_width = {max_seqlen: torch.arange(num_segments, dtype=torch.int64, device=cu_seqlens.device)}
        exact = False
    else:
        by_width, exact = _bucket_by_length(lengths), True
    for width, members in by_width.items():
        chunk = max(1, cells // max(1, width * max(width, cells_per_token)))
        for segments in members.split(chunk):
            offsets = torch.arange(width, dtype=torch.int64, device=cu_seqlens.device)
            index = starts[segments, None] + offsets
            valid = offsets < lengths[segments, None]
            padded = not exact or bool((lengths[segments] < width).any())
            yield PaddedGroup(segments, torch.where(valid, index, 0), valid if padded else None)


def _bucket_by_length(lengths: Tensor) -> dict[int, Tensor]:
    """Longest length of each bucket -> ids of its segments; a bucket spans one power of two."""
    buckets: dict[int, list[int]] = {}
    host = lengths.tolist()
    for segment, length in enumerate(host):
        if length:
            buckets.setdefault((length - 1).bit_length(), []).append(segment)
    return {max(host[s] for s in ids): lengths.new_tensor(ids) for _, ids in sorted(buckets.items())}


def segment_sums(values: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Sums over consecutive segments of a 1-D tensor, in a fixed order (no atomics); empty segments give 0."""
    if values.is_floating_point():
        return torch.segment_reduce(values, "sum", lengths=cu_seqlens.long().diff(), unsafe=True, initial=0)
    return torch.nn.functional.pad(values.cumsum(0), (1, 0))[cu_seqlens.long()].diff()


def rows_of(cu_seqlens: Tensor, total: int) -> Tensor:
    """int64 [total]: the segment every packed position belongs to; needs no device read."""
    positions = torch.arange(total, dtype=torch.int64, device=cu_seqlens.device)
    return torch.bucketize(positions, cu_seqlens[1:].long(), right=True)


def counts_to_offsets(counts: Tensor) -> Tensor:
    """[N] counts -> [N+1] offsets starting at 0 (int64)."""
    return torch.nn.functional.pad(counts.long().cumsum(0), (1, 0))


def offsets_of_one_row(packed: Tensor) -> Tensor:
    """`cu_seqlens` of a single segment that spans the first dimension of `packed` (int32 [2])."""
    return torch.arange(2, dtype=torch.int32, device=packed.device) * packed.shape[0]


def scatter_padded(packed: Tensor, group: PaddedGroup, block: Tensor) -> Tensor:
    """Write a `[G, n]` block of values back to the packed axis; what stands at padding is ignored."""
    if group.valid is None:
        return packed.index_put((group.index,), block)
    # Padding is sent to one slot past the end, so that no two writes meet at a real position.
    spare = torch.cat([packed, packed.new_zeros(1)])
    index = torch.where(group.valid, group.index, packed.shape[0])
    return spare.index_put((index,), block)[:-1]
