"""merge_rows as a torch operator, and its derivatives.

The operator is a linear map of the rows, so that one more argument makes it closed under all derivatives: with `own`, a
row also keeps itself where `own` says so. Backward mode is then the same operator with targets and sources swapped,
forward mode the same operator on tangents, and a mapped dimension more channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seats_ops.backend import implementation, too_many
from seats_ops.ops.derivatives import has_tangent, is_transformed
from seats_ops.ops.merge_rows.triples import non_targets
from seats_ops.ops.primitive import primitive

# Rows are sorted as 32-bit numbers, and one more stands for none.
MAX_ROWS = 2**31 - 2


def merge(
    features: Tensor, target: Tensor, source: Tensor, coefficient: Tensor, own: Tensor | None, backend: str
) -> Tensor:
    """`merge_op`, with its derivatives of either mode and the transforms of torch.func."""
    if is_transformed() or has_tangent(features):
        # Those pass an operator of torch's own kind by.
        return _Merge.apply(features, target, source, coefficient, own, backend)
    return merge_op(features, target, source, coefficient, own, backend)


@primitive("merge_rows")
def merge_op(
    features: Tensor, target: Tensor, source: Tensor, coefficient: Tensor, own: Tensor | None, backend: str
) -> Tensor:
    """Row t: the sum over triples of target t, plus row t of `features` where `own[t]`.

    Args:
        own: bool [T]; None means of all rows that are no target.
    """
    module = implementation("merge_rows", backend, features, too_many("rows", features.shape[0], MAX_ROWS))
    if not features.numel() or not target.shape[0]:
        return features.clone(memory_format=torch.contiguous_format)
    return module.merge_rows(features, target, source, coefficient, own)


@merge_op.register_fake
def _(
    features: Tensor, target: Tensor, source: Tensor, coefficient: Tensor, own: Tensor | None, backend: str
) -> Tensor:
    return features.new_empty(features.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, target, source, coefficient, own, ctx.backend = inputs
    ctx.save_for_backward(target, source, coefficient, own)
    ctx.save_for_forward(target, source, coefficient, own)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None, None]:
    target, source, coefficient, own = ctx.saved_tensors
    if own is None:
        own = non_targets(target, source, grad.shape[0])
    return merge(grad, source, target, coefficient, own, ctx.backend), None, None, None, None, None


merge_op.register_autograd(_backward, setup_context=_setup)


class _Merge(torch.autograd.Function):
    """`merge_op` for forward mode and torch.func."""

    forward = staticmethod(merge_op)
    setup_context = staticmethod(_setup)
    backward = staticmethod(_backward)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        target, source, coefficient, own = ctx.saved_tensors
        return merge(tangent, target, source, coefficient, own, ctx.backend)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        features: Tensor,
        target: Tensor,
        source: Tensor,
        coefficient: Tensor,
        own: Tensor | None,
        backend: str,
    ) -> tuple[Tensor, int]:
        if any(dim is not None for dim in in_dims[1:]):
            raise ValueError("target, source, coefficient: expected the same for all of a torch.vmap, got mapped ones")
        rows = features.movedim(in_dims[0], 1)
        merged = merge(rows.flatten(1), target, source, coefficient, own, backend)
        return merged.view(rows.shape), 1
