"""Relevance of every token to the query, from a decoder layer's own norm and projections."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seats_ops import functional as F


@torch.no_grad()
def query_scores(
    layer: Any,
    hidden: Tensor,
    cos: Tensor,
    sin: Tensor,
    query: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    backend: str,
) -> Tensor:
    """What layer `layer` would attend to if it came once more, seen from the query tokens (SEATS section 3.2).

    Args:
        layer: the decoder layer that produced `hidden`; has `input_layernorm` and `self_attn` with `q_proj`, `k_proj`,
            `head_dim`, `scaling` and perhaps `q_norm`, `k_norm` over a head.
        hidden: [T, hidden_size], packed.
        cos, sin: [T, head_dim], rotary embedding at the original positions.
        query: int64 [B], packed position of the query token of every prompt.
        cu_seqlens: integer [B+1].
        max_seqlen: upper bound of the prompt lengths.
        backend: of the primitive.

    Returns:
        float32 [T].
    """
    attention = layer.self_attn
    normed = layer.input_layernorm(hidden)
    q = attention.q_proj(normed[query]).unflatten(-1, (-1, attention.head_dim))
    k = attention.k_proj(normed).unflatten(-1, (-1, attention.head_dim))
    if hasattr(attention, "q_norm"):
        q, k = attention.q_norm(q), attention.k_norm(k)
    q = _rotate(q, cos[query], sin[query])
    k = _rotate(k, cos, sin)
    return F.query_relevance(q, k, cu_seqlens, scale=attention.scaling, max_seqlen=max_seqlen, backend=backend)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [T, H, D] by [T, D] (halves, as in GPT-NeoX)."""
    first, second = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]
