"""window_budget as a torch operator: opaque to the compiler, with the reference as its CPU implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import implementation, too_many
from seats_ops.ops.primitive import primitive

# One program holds all windows of a batch in registers; an hour of video is 1800 windows of two seconds.
MAX_WINDOWS = 2048


@primitive("window_budget")
def window_budget(
    scores: Tensor,
    modality: Tensor,
    window: Tensor,
    totals: Tensor,
    num_windows: int,
    temperature: float,
    window_offsets: Tensor,
    backend: str,
) -> Tensor:
    """See `api.window_budget`."""
    module = implementation("window_budget", backend, scores, too_many("windows", num_windows, MAX_WINDOWS))
    return module.window_budget(scores, modality, window, totals, num_windows, temperature, window_offsets)


@window_budget.register_fake
def _(
    scores: Tensor,
    modality: Tensor,
    window: Tensor,
    totals: Tensor,
    num_windows: int,
    temperature: float,
    window_offsets: Tensor,
    backend: str,
) -> Tensor:
    return scores.new_empty((num_windows, 2), dtype=torch.int64)
