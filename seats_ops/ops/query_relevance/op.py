"""query_relevance as a torch operator: opaque to the compiler, with the reference as its CPU implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import implementation, too_many
from seats_ops.ops.primitive import primitive

# Of a key: 16 keys of them are the largest tile that Triton takes.
MAX_CHANNELS = 65536


@primitive("query_relevance")
def query_relevance(
    query: Tensor, key: Tensor, cu_seqlens: Tensor, scale: float, max_seqlen: int, backend: str
) -> Tensor:
    """See `api.query_relevance`."""
    unfit = (
        too_many("prompts", query.shape[0])
        or too_many("key heads", key.shape[1])
        or too_many("channels", key.shape[2], MAX_CHANNELS)
    )
    module = implementation("query_relevance", backend, key, unfit)
    max_seqlen = max(0, min(max_seqlen, key.shape[0]))
    return module.query_relevance(query, key, cu_seqlens, scale, max_seqlen)


@query_relevance.register_fake
def _(query: Tensor, key: Tensor, cu_seqlens: Tensor, scale: float, max_seqlen: int, backend: str) -> Tensor:
    return key.new_empty(key.shape[0], dtype=torch.float32)
