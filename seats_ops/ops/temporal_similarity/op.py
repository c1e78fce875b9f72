"""temporal_similarity as a torch operator: opaque to the compiler, with the reference as its CPU implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import implementation
from seats_ops.ops.primitive import primitive


@primitive("temporal_similarity")
def temporal_similarity(features: Tensor, partner: Tensor, missing: float, eps: float, backend: str) -> Tensor:
    """See `api.temporal_similarity`."""
    module = implementation("temporal_similarity", backend, features)
    return module.temporal_similarity(features, partner, missing, eps)


@temporal_similarity.register_fake
def _(features: Tensor, partner: Tensor, missing: float, eps: float, backend: str) -> Tensor:
    return features.new_empty(features.shape[0], dtype=torch.float32)
