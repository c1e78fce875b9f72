"""merge_rows in PyTorch: weighted rows in the order of their targets, summed segment by segment."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.ops.merge_rows.triples import known_targets

# Weighted elements held at once (float32: 4 MiB, which stays in a cache), and fewest channels of a row among them.
CELLS = 2**20
CHANNELS = 64


def merge_rows(features: Tensor, target: Tensor, source: Tensor, coefficient: Tensor, own: Tensor | None) -> Tensor:
    """See `op.merge_op`."""
    total = features.shape[0]
    rows = known_targets(target, source, total)
    order = rows.argsort(stable=True)
    # The triples that count as none are one more segment, behind all others.
    ends = torch.arange(total + 2, dtype=torch.int64, device=features.device)
    lengths = torch.searchsorted(rows[order], ends).diff()
    untouched = (lengths[:total] == 0)[:, None]
    own = untouched if own is None else own[:, None]
    taken = torch.where(rows < total, source.long(), 0)[order]
    weight = coefficient.float()[order, None]
    merged = []
    for part in features.split(max(CHANNELS, CELLS // len(order)), dim=1):
        terms = part.index_select(0, taken).float() * weight
        sums = torch.segment_reduce(terms, "sum", lengths=lengths, unsafe=True, initial=0)[:total]
        sums = torch.where(own, sums + part.float(), sums).to(part.dtype)
        merged.append(torch.where(own & untouched, part, sums))
    return torch.cat(merged, dim=1)
