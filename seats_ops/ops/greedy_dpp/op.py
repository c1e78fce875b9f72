"""greedy_dpp as a torch operator: opaque to the compiler, with the reference as its CPU implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import MAX_GRID, implementation, too_many
from seats_ops.ops.primitive import primitive

# Tokens of a program in the narrowest tile; a segment has a program for every so many of its tokens.
FEWEST_TOKENS = 8
MAX_SEQLEN = MAX_GRID * FEWEST_TOKENS
# Offsets inside a tile of 64 tokens fit 32 bits.
MAX_CHANNELS = 2**31 // 64 - 1


@primitive("greedy_dpp")
def greedy_dpp(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    quality: Tensor | None,
    index: Tensor | None,
    max_seqlen: int,
    max_keep: int,
    backend: str,
) -> Tensor:
    """See `api.greedy_dpp`."""
    max_seqlen = max(0, min(max_seqlen, features.shape[0] if index is None else index.shape[0]))
    max_keep = max(0, min(max_keep, max_seqlen))
    unfit = too_many("channels", features.shape[1], MAX_CHANNELS)
    unfit = unfit or too_many("tokens of a segment", max_seqlen, MAX_SEQLEN)
    module = implementation("greedy_dpp", backend, features, unfit)
    return module.greedy_dpp(features, cu_seqlens, num_keep, quality, index, max_seqlen, max_keep)


@greedy_dpp.register_fake
def _(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    quality: Tensor | None,
    index: Tensor | None,
    max_seqlen: int,
    max_keep: int,
    backend: str,
) -> Tensor:
    return features.new_empty(features.shape[0] if index is None else index.shape[0], dtype=torch.bool)
