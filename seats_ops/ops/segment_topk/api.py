"""segment_topk: keep the best-scored tokens of every segment, as many as its budget."""

from __future__ import annotations

from torch import Tensor

from seats_ops.backend import check_backend
from seats_ops.ops.segment_topk import op
from seats_ops.validation import (
    check_integers,
    check_length,
    check_non_negative,
    check_same_device,
    check_values,
    reads_are_free,
)


def segment_topk(
    scores: Tensor, segment: Tensor, budget: Tensor, *, backend: str = "auto", validate: bool = False
) -> Tensor:
    """Top-`budget[g]` tokens of every segment g by score; tokens outside all segments are kept.

    Exact counts, stable: among equal scores the lowest index is kept. A budget above the size of its segment keeps it
    whole. NaN ranks as -inf, and -0.0 equals 0.0. Nothing is read from the device. Kernels stay inside the tensors
    whatever ids and budgets those of a device hold; a token whose id names no segment is dropped.

    Args:
        scores: float32, bfloat16 or float16 [T].
        segment: integer [T] with values -1 (always kept) to G-1, in any order.
        budget: integer [G], entries >= 0.
        backend: "auto", "triton" or "reference".
        validate: check the values of device tensors too (one read each); those of CPU tensors always are.

    Returns:
        bool [T] keep mask.

    Raises:
        BackendUnavailable: "triton" cannot run here, or not at this size.
        TypeError: wrong dtypes. ValueError: wrong shapes or devices, a negative budget, a segment id out of range.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> scores = torch.tensor([0.1, 0.9, 0.5, 0.3, 0.7])
        >>> F.segment_topk(scores, torch.tensor([0, 0, 1, 1, -1]), torch.tensor([1, 1]))
        tensor([False,  True,  True, False,  True])
    """
    total = check_values("scores", scores, 1).shape[0]
    segment, budget = check_integers("segment", segment), check_integers("budget", budget)
    check_length("segment", segment, total, "scores")
    check_same_device("scores", scores, segment=segment, budget=budget)
    check_non_negative("budget", budget, validate)
    if total and (validate or reads_are_free(segment)):
        low, high = int(segment.min()), int(segment.max())
        if low < -1 or high >= budget.shape[0]:
            raise ValueError(f"segment: expected ids from -1 to {budget.shape[0] - 1}, got {low} to {high}")
    return op.segment_topk(scores, segment, budget, check_backend(backend))
