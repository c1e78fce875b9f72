"""query_relevance in PyTorch: one small matrix product per group of prompts."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from seats_ops.ops.segments import padded_groups, scatter_padded

# Padded key elements gathered at once when prompts are batched (float32: 64 MiB).
CELLS = 2**24


def query_relevance(query: Tensor, key: Tensor, cu_seqlens: Tensor, scale: float, max_seqlen: int) -> Tensor:
    """See `api.query_relevance`."""
    grouped = rearrange(query.float(), "b (hkv g) d -> b hkv g d", hkv=key.shape[1]) * scale
    if query.shape[0] == 1:
        return _scores(grouped, key[None].float(), None)[0]
    scores = torch.zeros(key.shape[0], dtype=torch.float32, device=key.device)
    for group in padded_groups(cu_seqlens, max_seqlen, key.shape[1] * key.shape[2], CELLS):
        block = _scores(grouped[group.segments], key[group.index].float(), group.valid)
        scores = scatter_padded(scores, group, block)
    return scores


def _scores(query: Tensor, key: Tensor, valid: Tensor | None) -> Tensor:
    """[b, hkv, g, d], [b, n, hkv, d] -> [b, n]."""
    logits = torch.einsum("bhgd,bnhd->bhgn", query, key)
    if valid is not None:
        logits = logits.masked_fill(~valid[:, None, None, :], -torch.inf)
    return logits.softmax(-1).mean((1, 2))
