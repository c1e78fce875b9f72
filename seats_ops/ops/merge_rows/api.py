"""merge_rows: replace some rows by weighted sums of rows, given as (target, source, coefficient) triples."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import check_backend
from seats_ops.ops.derivatives import check_constant
from seats_ops.ops.merge_rows.op import merge
from seats_ops.validation import check_finite, check_index, check_length, check_same_device, check_values


def merge_rows(
    features: Tensor,
    target: Tensor,
    source: Tensor,
    coefficient: Tensor,
    *,
    backend: str = "auto",
    validate: bool = False,
) -> Tensor:
    """Every row that is a target becomes the sum over its triples of coefficient * features[source].

    The merge step of training-free token reduction in its general form, a linear map of the rows: a mean of assigned
    tokens (VisionZip, arXiv 2412.04467, section 3), a token merged into several anchors (FastVID, arXiv 2503.11187,
    section 3.3), trees of tokens (FlashVID, arXiv 2602.08024). A row that is to keep a part of itself is a triple of
    its own, (row, row, part).

    All sources are read from `features` as given: a row that is target and source does not pass on what it becomes.
    Rows that are no target are returned bit by bit. A sum starts at 0, is taken in float32 in the order in which its
    triples stand, and is rounded once; triples of one pair add up. A row that no triple names as its source never
    reaches another one. Arithmetic is that of IEEE 754: a coefficient of 0 times NaN or infinity is NaN.

    Differentiable in `features`, in backward and in forward mode, by the transforms of torch.func and to any order; not
    in the coefficients.

    Args:
        features: [T, D], float32, bfloat16 or float16.
        target: integer [N] with values 0 to T-1, in any order.
        source: integer [N] with values 0 to T-1.
        coefficient: finite [N], float32, bfloat16 or float16.
        backend: "auto", "triton" or "reference".
        validate: check the values of device tensors too (one read each); those of CPU tensors always are. Unchecked, a
            triple with an index out of range counts as none.

    Returns:
        [T, D] of the dtype of `features`, in memory of its own; without triples a copy.

    Raises:
        BackendUnavailable: "triton" cannot run here, or not at this size.
        TypeError: wrong dtypes. ValueError: wrong shapes, lengths or devices, indices out of range, coefficients that
            are not finite or are being differentiated.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> features = torch.tensor([[1.0, 0.0], [3.0, 4.0], [5.0, 6.0]])
        >>> target, source = torch.tensor([0, 0]), torch.tensor([0, 1])  # Row 0: a mean of rows 0 and 1.
        >>> F.merge_rows(features, target, source, torch.tensor([0.5, 0.5]))
        tensor([[2., 2.],
                [3., 4.],
                [5., 6.]])
    """
    total = check_values("features", features, 2).shape[0]
    target = check_index("target", target, total, validate)
    source = check_index("source", source, total, validate)
    check_values("coefficient", coefficient, 1)
    check_length("source", source, target.shape[0], "target")
    check_length("coefficient", coefficient, target.shape[0], "target")
    check_same_device("features", features, target=target, source=source, coefficient=coefficient)
    check_constant("coefficient", coefficient)
    if coefficient.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            "coefficient: expected a tensor that requires no gradient, as the result is differentiable in features "
            "alone, got one that does; coefficient.detach() is a constant"
        )
    check_finite("coefficient", coefficient, validate)
    return merge(features, target, source, coefficient.detach(), None, check_backend(backend))
