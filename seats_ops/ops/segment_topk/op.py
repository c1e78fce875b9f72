"""segment_topk as a torch operator: opaque to the compiler, with the reference as its CPU implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import implementation
from seats_ops.ops.primitive import primitive


@primitive("segment_topk")
def segment_topk(scores: Tensor, segment: Tensor, budget: Tensor, backend: str) -> Tensor:
    """See `api.segment_topk`."""
    return implementation("segment_topk", backend, scores).segment_topk(scores, segment, budget)


@segment_topk.register_fake
def _(scores: Tensor, segment: Tensor, budget: Tensor, backend: str) -> Tensor:
    return scores.new_empty(scores.shape, dtype=torch.bool)
