"""Relevance of every token to the query, from a decoder layer's own norm and projections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from seats_ops import functional as F
from seats_ops.integrations.ranks import mean_over_heads


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

    Where heads are split over ranks, the mean goes over the heads of all of them.

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
    with _weights_in_place(layer), _weights_in_place(attention):
        normed = layer.input_layernorm(hidden)
        q = attention.q_proj(normed[query]).unflatten(-1, (-1, attention.head_dim))
        k = attention.k_proj(normed).unflatten(-1, (-1, attention.head_dim))
        if hasattr(attention, "q_norm"):
            q, k = attention.q_norm(q), attention.k_norm(k)
    q = _rotate(q, cos[query], sin[query])
    k = _rotate(k, cos, sin)
    scores = F.query_relevance(q, k, cu_seqlens, scale=attention.scaling, max_seqlen=max_seqlen, backend=backend)
    # A split projection is as wide as the whole one by its attribute, and as its part by what it puts out.
    num_heads = getattr(attention.q_proj, "out_features", q.shape[1] * attention.head_dim) // attention.head_dim
    return mean_over_heads(scores, layer, num_heads, q.shape[1])


@contextmanager
def _weights_in_place(module: nn.Module) -> Iterator[None]:
    """What accelerate does around `forward`: weights that a module holds back are brought in for its parts."""
    hook: Any = getattr(module, "_hf_hook", None)
    if hook is None:
        yield
        return
    hook.pre_forward(module)
    try:
        yield
    finally:
        hook.post_forward(module, None)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [T, H, D] by [T, D] (halves, as in GPT-NeoX)."""
    first, second = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]
