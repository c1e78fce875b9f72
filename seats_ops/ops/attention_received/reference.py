"""attention_received in PyTorch: one head, some query rows and whole segments of keys at a time.

At no time does more of the attention matrix exist than max(TILE, longest segment) entries, three times over (logits and
probabilities in two forms). TILE is a compromise: larger ones leave a core's caches, smaller ones multiply slower.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from seats_ops.ops.products import packed, packs, products
from seats_ops.ops.segments import padded_groups, scatter_padded

# float32 entries of one tile (2 MiB), and of those of short segments that are worked off together.
TILE, GROUP = 2**19, 2**16


def attention_received(
    query: Tensor, key: Tensor, cu_seqlens: Tensor, logsumexp: Tensor | None, scale: float, max_seqlen: int
) -> Tensor:
    """See `api.attention_received`."""
    received = torch.zeros(query.shape[0], dtype=torch.float32, device=query.device)
    # Freed at once: from then on glibc keeps blocks of this size, instead of asking the system for every tile's pages.
    torch.empty(4 * TILE, dtype=torch.float32, device=query.device)
    for group in padded_groups(cu_seqlens, max_seqlen, 1, GROUP):
        q, k = (rearrange(group.of(x), "g n h d -> h g n d").float() for x in (query, key))
        q = q * scale
        block = torch.zeros_like(group.index, dtype=torch.float32)
        heads, segments, length, head_dim = q.shape
        one = logsumexp is None and group.valid is None and segments == 1 and packs(length, length, head_dim, q)
        one = one and _logits_are_finite(q, k)
        for head in range(heads):
            if one:
                block[0] += _columns_of_one(q[head, 0], k[head, 0])
            else:
                norm = None if logsumexp is None else _finite_or_nan(logsumexp[head][group.index])
                block += _columns(q[head], k[head].mT, group.valid, norm)
        received = scatter_padded(received, group, block / heads)
    return received


def _logits_are_finite(query: Tensor, key: Tensor) -> bool:
    """Whether no product can overflow. oneDNN's softmax keeps a NaN to itself, where it belongs to the whole row."""
    return bool((query.abs().amax() * key.abs().amax() * query.shape[-1]).isfinite())


def _finite_or_nan(norm: Tensor) -> Tensor:
    """An infinite denominator leaves no probability defined."""
    return torch.where(norm.isfinite(), norm, torch.nan)


def _columns_of_one(query: Tensor, key: Tensor) -> Tensor:
    """One head of one segment: [n, d] scaled queries, [n, d] keys -> [n] column sums of the softmax."""
    keys, columns = packed(key), key.new_zeros(key.shape[0])
    for rows in query.split(max(1, TILE // key.shape[0])):
        columns += products(packed(rows), keys).softmax(-1).to_dense().sum(0)
    return columns


def _columns(query: Tensor, key: Tensor, valid: Tensor | None, norm: Tensor | None) -> Tensor:
    """One head: [g, n, d] scaled queries, [g, d, n] keys, [g, n] log-sum-exp -> [g, n] column sums of the softmax."""
    width = query.shape[1]
    rows_per_tile = max(1, TILE // (query.shape[0] * width))
    columns = torch.zeros(query.shape[:2], dtype=torch.float32, device=query.device)
    for start in range(0, width, rows_per_tile):
        rows = slice(start, start + rows_per_tile)
        logits = query[:, rows] @ key
        if valid is not None:
            logits = logits.masked_fill(~valid[:, None, :], -torch.inf)
        attention = logits.softmax(-1) if norm is None else (logits - norm[:, rows, None]).exp()
        if valid is not None:
            attention = torch.where(valid[:, rows, None], attention, 0.0)
        columns += attention.sum(1)
    return columns
