"""group_budget as a torch operator: opaque to the compiler, with the reference as its CPU implementation."""

from __future__ import annotations

import struct

import torch
from torch import Tensor

from seats_ops.backend import implementation, too_many
from seats_ops.ops.primitive import primitive

# One program holds all groups of a row in registers; half an hour of video has 1800 frames at one a second.
MAX_GROUPS = 2048
# Tokens of a row: times a share of 31 bits they still fit 63.
MOST = 2**31 - 1


@primitive("group_budget")
def group_budget(
    scores: Tensor,
    lengths: Tensor,
    totals: Tensor,
    cu_groups: Tensor,
    temperature: float | None,
    minimum: int,
    max_groups: int,
    backend: str,
) -> Tensor:
    """See `api.group_budget`."""
    max_groups = max(0, min(max_groups, scores.shape[0]))
    if temperature is not None:
        # What a kernel gets is a float32.
        (temperature,) = struct.unpack("f", struct.pack("f", temperature))
    module = implementation("group_budget", backend, scores, too_many("groups of a row", max_groups, MAX_GROUPS))
    return module.group_budget(scores, lengths, totals, cu_groups, temperature, minimum, max_groups)


@group_budget.register_fake
def _(
    scores: Tensor,
    lengths: Tensor,
    totals: Tensor,
    cu_groups: Tensor,
    temperature: float | None,
    minimum: int,
    max_groups: int,
    backend: str,
) -> Tensor:
    return scores.new_empty(scores.shape, dtype=torch.int64)
