"""Forward-mode derivatives and the transforms of torch.func: they pass an opaque operator by and would find zeros."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad


def has_tangent(tensor: Tensor) -> bool:
    """`tensor` may carry a forward-mode derivative (`torch.autograd.forward_ad`, `torch.func.jvp`)."""
    if torch.compiler.is_compiling():
        # A trace does not see the derivative of a tensor, but that somebody is at it.
        return is_transformed() or forward_ad._current_level >= 0
    return forward_ad.unpack_dual(tensor).tangent is not None


def check_constant(name: str, tensor: Tensor) -> None:
    """ValueError for a tensor that is being differentiated where the result would take it for a constant in silence.

    Plain backward mode needs no check: the result requires no gradient, so that torch refuses to start from it.
    """
    if has_tangent(tensor) or (is_transformed() and _requires_grad_inside(tensor)):
        raise ValueError(
            f"{name}: expected a tensor that is not differentiated, as the result has no derivative, got one in "
            f"forward mode or in a transform of torch.func; {name}.detach() is a constant"
        )


def is_transformed() -> bool:
    """The call is inside a transform of torch.func."""
    return torch._C._are_functorch_transforms_active()


def _requires_grad_inside(tensor: Tensor) -> bool:
    """Some transform around the call, of several perhaps, differentiates by `tensor`."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if tensor.requires_grad:
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False
