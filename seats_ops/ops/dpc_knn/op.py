"""dpc_knn as a torch operator: opaque to the compiler, with the reference as its CPU implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import MAX_GRID, implementation, too_many
from seats_ops.ops.primitive import primitive

# What a program of the kernels keeps of every row.
MAX_NEIGHBORS = 16
# In blocks of the fewest tokens that a launch table may ask for.
MAX_TOKENS = 32 * MAX_GRID
# Offsets inside a block fit 32 bits.
MAX_CHANNELS = 2**24


@primitive("dpc_knn")
def dpc_knn(
    features: Tensor,
    cu_seqlens: Tensor,
    num_neighbors: int,
    metric: str,
    include_self: bool,
    squared: bool,
    density_scale: Tensor | None,
    offsets: Tensor | None,
    offset_weight: float,
    index: Tensor | None,
    max_seqlen: int,
    backend: str,
) -> Tensor:
    """See `api.dpc_knn`."""
    max_seqlen = max(0, min(max_seqlen, features.shape[0] if index is None else index.shape[0]))
    unfit = (
        too_many("neighbors", min(num_neighbors, max_seqlen), MAX_NEIGHBORS)
        or too_many("tokens of a segment", max_seqlen, MAX_TOKENS)
        or too_many("channels", features.shape[1], MAX_CHANNELS)
    )
    module = implementation("dpc_knn", backend, features, unfit)
    return module.dpc_knn(
        features,
        cu_seqlens,
        num_neighbors,
        metric,
        include_self,
        squared,
        density_scale,
        offsets,
        offset_weight,
        index,
        max_seqlen,
    )


@dpc_knn.register_fake
def _(
    features: Tensor,
    cu_seqlens: Tensor,
    num_neighbors: int,
    metric: str,
    include_self: bool,
    squared: bool,
    density_scale: Tensor | None,
    offsets: Tensor | None,
    offset_weight: float,
    index: Tensor | None,
    max_seqlen: int,
    backend: str,
) -> Tensor:
    return features.new_empty(features.shape[0] if index is None else index.shape[0], dtype=torch.float32)
