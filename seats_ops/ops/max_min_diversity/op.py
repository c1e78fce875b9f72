"""max_min_diversity as a torch operator: opaque to the compiler, with the reference as its CPU implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import implementation, too_many
from seats_ops.ops.primitive import primitive

# Tokens of a window up to which the kernels hold a matrix of distances.
MAX_MATRIX = 4096
# Offsets inside a window of that many tokens fit 32 bits.
MAX_CHANNELS = 2**31 // MAX_MATRIX - 1
# How the first token of a window is picked.
FIRST = ("spread", "weight")


@primitive("max_min_diversity")
def max_min_diversity(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    weights: Tensor | None,
    index: Tensor | None,
    max_seqlen: int,
    max_keep: int | None,
    first: str,
    backend: str,
) -> Tensor:
    """See `api.max_min_diversity`."""
    max_seqlen = max(0, min(max_seqlen, features.shape[0] if index is None else index.shape[0]))
    unfit = too_many("channels", features.shape[1], MAX_CHANNELS)
    if max_seqlen > MAX_MATRIX:
        unfit = unfit or too_many("windows, one of them long,", num_keep.shape[0])
    module = implementation("max_min_diversity", backend, features, unfit)
    return module.max_min_diversity(features, cu_seqlens, num_keep, weights, index, max_seqlen, max_keep, first)


@max_min_diversity.register_fake
def _(
    features: Tensor,
    cu_seqlens: Tensor,
    num_keep: Tensor,
    weights: Tensor | None,
    index: Tensor | None,
    max_seqlen: int,
    max_keep: int | None,
    first: str,
    backend: str,
) -> Tensor:
    return features.new_empty(features.shape[0] if index is None else index.shape[0], dtype=torch.bool)
