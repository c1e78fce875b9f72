"""Relevance of every token to the query, from a decoder layer's own norm and projections."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from seats_ops import functional as F
from seats_ops.integrations.huggingface.scores.query_rows import Asking, relevance_of_rows
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
    pending: list[Callable[[], None]],
    asking: Asking | None = None,
) -> Tensor:
    """What layer `layer` attends to in these states, seen from the query tokens (SEATS section 3.2).

    In its own output these are the paper's scores: what it would attend to if it came once more.

    Where heads are split over ranks, the mean goes over the heads of all of them.

    Args:
        layer: a decoder layer; has `input_layernorm` and `self_attn` with `q_proj`, `k_proj`
            (or both in `qkv_proj`), `head_dim`, `scaling` and perhaps `q_norm`, `k_norm` over a head.
        hidden: [T, hidden_size], packed.
        cos, sin: [T, rotary_dim], rotary embedding at the original positions, of the first dimensions of a head.
        query: int64 [B], packed position of the query token of every prompt; or `asking.rows`.
        cu_seqlens: integer [B+1].
        max_seqlen: upper bound of the prompt lengths.
        backend: of the primitive.
        pending: takes what is to be undone while the call lasts, should it be interrupted.
        asking: which rows ask, unless it is one per prompt that sees all tokens.

    Returns:
        float32 [T].
    """
    attention = layer.self_attn
    with _weights_in_place(layer), _weights_in_place(attention), _undisturbed(_called_once_more(layer), pending):
        normed = layer.input_layernorm(hidden)
        q, k = _query_and_key(attention, normed, query)
        if hasattr(attention, "q_norm"):
            q, k = attention.q_norm(q), attention.k_norm(k)
    q = _rotate(q, cos[query], sin[query])
    k = _rotate(k, cos, sin)
    # A split projection is as wide as the whole one by its attribute, and as its part by what it puts out. The plans of
    # transformers split none that gives q, k and v in one.
    projection = getattr(attention, "q_proj", None)
    num_heads = getattr(projection, "out_features", q.shape[1] * attention.head_dim) // attention.head_dim
    over_ranks = functools.partial(mean_over_heads, layer=layer, num_heads=num_heads, num_heads_here=q.shape[1])
    if asking is not None:
        return relevance_of_rows(q.detach(), k.detach(), asking, attention.scaling, over_ranks)
    return over_ranks(
        F.query_relevance(
            q.detach(), k.detach(), cu_seqlens, scale=attention.scaling, max_seqlen=max_seqlen, backend=backend
        )
    )


def _query_and_key(attention: Any, normed: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """q [R, H, head_dim] of the query tokens and k [T, H', head_dim] of all, before rotary embedding."""
    if not hasattr(attention, "qkv_proj"):
        q, k = attention.q_proj(normed[query]), attention.k_proj(normed)
    else:
        # Called as a whole, for weights that are quantised, adapted or elsewhere.
        both = attention.qkv_proj(normed)
        width = attention.num_key_value_heads * attention.head_dim
        q, k = both[query, : -2 * width], both[:, -2 * width : -width]
    return q.unflatten(-1, (-1, attention.head_dim)), k.unflatten(-1, (-1, attention.head_dim))


def _called_once_more(layer: Any) -> list[nn.Module]:
    """The parts of a layer that scoring calls."""
    names = ("q_proj", "k_proj", "qkv_proj", "q_norm", "k_norm")
    parts = [layer.input_layernorm, *(getattr(layer.self_attn, name, None) for name in names)]
    return [part for part in parts if part is not None]


@contextmanager
def _undisturbed(modules: list[nn.Module], pending: list[Callable[[], None]]) -> Iterator[None]:
    """A call of modules that leaves no trace: dropout draws nothing, and what they count or measure is not changed.

    Flags are set one by one: a `train` of their own may do more than that (merge an adapter into its weights).
    """
    parts = list({id(part): part for module in modules for part in module.modules()}.values())
    training = [part for part in parts if part.training]
    buffers = [
        (part._buffers, name, value) for part in parts for name, value in part._buffers.items() if value is not None
    ]

    def restore() -> None:
        for part in training:
            part.training = True
        for owner, name, value in buffers:
            owner[name] = value

    pending.append(restore)
    try:
        for part in training:
            part.training = False
        for owner, name, value in buffers:
            owner[name] = value.clone()
        yield
    finally:
        restore()
        pending.remove(restore)


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
    """Rotary embedding of the first R of [T, H, D] by [T, R] (halves, as in GPT-NeoX)."""
    turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    first, second = turned.chunk(2, -1)
    turned = turned * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]
    return torch.cat([turned, rest], -1) if rest.shape[-1] else turned
