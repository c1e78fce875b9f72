"""attention_received as a torch operator: opaque to the compiler, with the reference as its CPU implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import implementation, too_many
from seats_ops.ops.primitive import primitive


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
    unfit = too_many("segments", cu_seqlens.shape[0] - 1)
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
