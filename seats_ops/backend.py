"""Which implementation runs: the Triton kernel on a GPU, the PyTorch reference elsewhere, never a silent fallback."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

import torch
from torch import Tensor

from seats_ops.errors import BackendUnavailable
from seats_ops.floors import old_triton

BACKENDS = ("auto", "triton", "reference")
# Programs along the second and third axis of a grid, on CUDA and HIP alike; the first may have 2^31 - 1.
MAX_GRID = 65535


def check_backend(backend: object) -> str:
    """`backend` if it is one of "auto", "triton", "reference", else ValueError."""
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {BACKENDS}, got {backend!r}")
    return str(backend)


def why_not_triton(primitive: str, tensor: Tensor) -> str | None:
    """The reason why `primitive` has no Triton path for `tensor`, or None if it has one.

    Args:
        primitive: name of a folder below `seats_ops.ops`, e.g. "segment_topk".
        tensor: a tensor the primitive would be called with; only its device matters.

    Example:
        >>> import torch
        >>> from seats_ops import why_not_triton
        >>> why_not_triton("segment_topk", torch.zeros(3, device="cpu"))
        '...triton...'
    """
    if importlib.util.find_spec(f"seats_ops.ops.{primitive}.triton") is None:
        return f"this version of seats_ops has no Triton kernel for {primitive}"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if tensor.device.type != "cuda" and not _interpreted():
        return f"tensors are on {tensor.device} and TRITON_INTERPRET=1 was not set before triton was imported"
    return old_triton()


def _interpreted() -> bool:
    """Triton runs kernels in its interpreter; what it decorated at import tells, the variable alone does not."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        return False
    import triton

    return not isinstance(triton.language.sum, triton.JITFunction)


def resolve_backend(backend: str, primitive: str, tensor: Tensor, unfit: str | None = None) -> str:
    """ "triton" or "reference". "auto" takes the kernel on a CUDA or HIP device where there is one.

    `unfit` is a reason, beyond those of `why_not_triton`, why the kernel cannot serve this call.

    Raises:
        ValueError: unknown name. BackendUnavailable: "triton" was asked for and cannot run; the reason is given.
    """
    check_backend(backend)
    if backend == "reference" or (backend == "auto" and tensor.device.type != "cuda"):
        return "reference"
    reason = why_not_triton(primitive, tensor) or unfit
    if reason is None:
        return "triton"
    if backend == "triton":
        raise BackendUnavailable(f"backend='triton' for {primitive}: {reason}")
    return "reference"


def too_many(what: str, number: int, most: int = MAX_GRID) -> str | None:
    """A reason for `resolve_backend` if a launch would have more than `most` of something, else None."""
    return f"{number} {what} in a call, above {most}" if number > most else None


def shared_memory(device: torch.device) -> int | None:
    """Bytes of shared memory that one program may use on a CUDA or HIP device; None elsewhere, where none is used."""
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    # HIP has the plain number only.
    return int(getattr(properties, "shared_memory_per_block_optin", 0) or properties.shared_memory_per_block)


def too_much_shared(what: str, need: int, tensor: Tensor) -> str | None:
    """A reason for `resolve_backend` if `what` needs more shared memory than the tensor's device has, else None."""
    room = shared_memory(tensor.device)
    return None if room is None or need <= room else f"{what} takes {need} bytes of shared memory, above {room}"


def capturing(tensor: Tensor) -> bool:
    """Whether what is done with the tensor now is recorded into a CUDA graph instead of being done."""
    return tensor.device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def implementation(primitive: str, backend: str, tensor: Tensor, unfit: str | None = None) -> Any:
    """The module, `reference` or `triton`, that carries out `primitive` for tensors like this one."""
    name = resolve_backend(backend, primitive, tensor, unfit)
    return importlib.import_module(f"seats_ops.ops.{primitive}.{name}")
