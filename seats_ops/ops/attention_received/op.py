"""attention_received as a torch operator: opaque to the compiler, with the reference as its CPU implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import implementation, too_many, too_much_shared
from seats_ops.ops.attention_received.tiles import shared_memory_need
from seats_ops.ops.primitive import primitive
from seats_ops.ops.tile_tables import tiles


@primitive("attention_received")
def attention_received(
    query: Tensor,
    key: Tensor,
    cu_seqlens: Tensor,
    logsumexp: Tensor | None,
    scale: float,
    max_seqlen: int,
    backend: str,
) -> Tensor:
    """See `api.attention_received`."""
    total, heads, channels = query.shape
    unfit = (
        too_many("segments", cu_seqlens.shape[0] - 1)
        or too_many("heads", heads)
        or too_much_shared(
            f"a head_dim of {channels} in {query.dtype}",
            shared_memory_need(tiles(query.device), query.dtype, channels),
            query,
        )
    )
    max_seqlen = max(0, min(max_seqlen, total))
    module = implementation("attention_received", backend, query, unfit)
    return module.attention_received(query, key, cu_seqlens, logsumexp, scale, max_seqlen)


@attention_received.register_fake
def _(
    query: Tensor,
    key: Tensor,
    cu_seqlens: Tensor,
    logsumexp: Tensor | None,
    scale: float,
    max_seqlen: int,
    backend: str,
) -> Tensor:
    return query.new_empty(query.shape[0], dtype=torch.float32)
