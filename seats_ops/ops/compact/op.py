"""compact as torch operators: opaque to the compiler, differentiable in the gathered tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seats_ops.backend import capturing, implementation
from seats_ops.ops.derivatives import has_tangent, is_transformed
from seats_ops.ops.primitive import primitive


# Without `num_kept` the host waits for the number.
@primitive("kept_index", torch.Tag.cudagraph_unsafe)
def kept_index(keep_mask: Tensor, num_kept: int | None, backend: str) -> Tensor:
    """int64 [K]: positions of the True entries of `keep_mask`, ascending."""
    if num_kept is None and capturing(keep_mask):
        raise ValueError("num_kept: expected an int while a CUDA graph is captured, got None")
    return implementation("compact", backend, keep_mask).kept_index(keep_mask, num_kept)


@kept_index.register_fake
def _(keep_mask: Tensor, num_kept: int | None, backend: str) -> Tensor:
    count = torch.library.get_ctx().new_dynamic_size() if num_kept is None else num_kept
    return keep_mask.new_empty(count, dtype=torch.int64)


def gather(index: Tensor, tensors: Sequence[Tensor], dim: int, backend: str) -> list[Tensor]:
    """Rows `index` of every tensor along `dim`, with their derivatives of either mode."""
    if is_transformed() or any(has_tangent(tensor) for tensor in tensors):
        # An operator of torch's own kind has neither forward mode nor rules for transforms; what the reference is made
        # of has.
        unfit = "a tensor is differentiated in forward mode, or transformed by torch.func"
        return implementation("compact", backend, index, unfit).gather(index, tensors, dim)
    return gather_op(index, tensors, dim, backend)


# The kernel finds tensors through a table of addresses that the host copies.
@primitive("gather", torch.Tag.cudagraph_unsafe)
def gather_op(index: Tensor, tensors: Sequence[Tensor], dim: int, backend: str) -> list[Tensor]:
    """Opaque `gather`, differentiable in backward mode."""
    unfit = "a CUDA graph is captured, which would keep addresses of this call" if capturing(index) else None
    return implementation("compact", backend, index, unfit).gather(index, tensors, dim)


@gather_op.register_fake
def _(index: Tensor, tensors: Sequence[Tensor], dim: int, backend: str) -> list[Tensor]:
    results = []
    for tensor in tensors:
        shape = list(tensor.shape)
        shape[dim] = index.shape[0]
        results.append(tensor.new_empty(shape))
    return results


def _setup(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    index, tensors, ctx.dim, _ = inputs
    ctx.save_for_backward(index)
    ctx.sizes = [tensor.shape[ctx.dim] for tensor in tensors]


def _backward(ctx: Any, grads: list[Tensor | None]) -> tuple[None, list[Tensor | None], None, None]:
    (index,) = ctx.saved_tensors
    scattered: list[Tensor | None] = []
    for grad, size in zip(grads, ctx.sizes, strict=True):
        if grad is None:
            scattered.append(None)
            continue
        shape = list(grad.shape)
        shape[ctx.dim] = size
        scattered.append(grad.new_zeros(shape).index_copy(ctx.dim, index, grad))
    return None, scattered, None, None


gather_op.register_autograd(_backward, setup_context=_setup)
