"""compact: gather many tensors by one keep mask."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.backend import check_backend
from seats_ops.ops.compact.op import gather, kept_index
from seats_ops.validation import check_same_device, check_tensor, describe, reads_are_free


def compact(
    keep_mask: Tensor,
    *tensors: Tensor,
    dim: int = 0,
    num_kept: int | None = None,
    backend: str = "auto",
    validate: bool = False,
) -> tuple[Tensor, ...]:
    """Kept entries of every tensor along `dim`, in ascending order.

    Differentiable in `tensors`, in backward and in forward mode (that one without a kernel); any dtype. The inputs are
    not modified and the results share no memory with them.

    Args:
        keep_mask: bool [T].
        *tensors: each of size T along `dim`, on the mask's device.
        dim: the token dimension of every tensor, negative counts from the end.
        num_kept: number of True entries, if known. Without it one device read. Where it is wrong for the mask of a
            device, the kernel takes the first of them, or rows of zeros for those that are missing.
        backend: "auto", "triton" or "reference".
        validate: check `num_kept` against the mask on a device too (one read); on the CPU it always is.

    Returns:
        One tensor per input, with `num_kept` entries along `dim`.

    Raises:
        BackendUnavailable: "triton" cannot run here, or not at this size.
        TypeError: `keep_mask` is not bool, an input is not a tensor. ValueError: sizes, devices or `num_kept` do not
            fit.

    Example:
        >>> import torch
        >>> from seats_ops import functional as F
        >>> keep_mask = torch.tensor([True, False, True])
        >>> hidden, position = F.compact(keep_mask, torch.eye(3), torch.arange(3))
        >>> hidden.shape, position
        (torch.Size([2, 3]), tensor([0, 2]))
    """
    mask = check_tensor("keep_mask", keep_mask, 1)
    if mask.dtype != torch.bool:
        raise TypeError(f"keep_mask: expected a bool tensor, got {describe(mask)}")
    if num_kept is not None:
        if isinstance(num_kept, bool) or not isinstance(num_kept, int):
            raise TypeError(f"num_kept: expected an int or None, got {describe(num_kept)}")
        if not 0 <= num_kept <= mask.shape[0]:
            raise ValueError(f"num_kept: expected 0 to {mask.shape[0]}, got {num_kept}")
        if (validate or reads_are_free(mask)) and int(mask.sum()) != num_kept:
            raise ValueError(f"num_kept: expected {int(mask.sum())}, the number of True in keep_mask, got {num_kept}")
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise TypeError(f"dim: expected an int, got {describe(dim)}")
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"tensors[{i}]: expected a tensor, got {describe(tensor)}")
        if not -tensor.ndim <= dim < tensor.ndim or tensor.shape[dim] != mask.shape[0]:
            raise ValueError(f"tensors[{i}]: expected size {mask.shape[0]} along dim {dim}, got {describe(tensor)}")
    check_same_device("keep_mask", mask, **{f"tensors[{i}]": t for i, t in enumerate(tensors)})
    check_backend(backend)
    if not tensors:
        return ()
    return tuple(gather(kept_index(mask, num_kept, backend), tensors, dim, backend))
