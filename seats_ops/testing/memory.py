"""Watches every access of an interpreted kernel to global memory.

The interpreter runs one program after the other, each step finished before the next, so it hides what a GPU punishes:
reads beyond a tensor, reading back what the same launch wrote, two programs writing one place.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from triton.runtime import interpreter
from triton.runtime.interpreter import GridExecutor, InterpreterBuilder, TensorHandle

from seats_ops.testing.hazards import Buffer, MemoryFault

__all__ = ["MemoryFault", "bounds_only", "surrounded", "watch_memory"]

_bounds_only: list[bool] = []


class _Launch:
    """The tensors of one launch as address ranges, in ascending order."""

    def __init__(self, kernel: str, tensors: Iterable[Tensor]) -> None:
        self.kernel = kernel
        spans = sorted(_span(tensor) for tensor in tensors if tensor.numel())
        self.buffers: list[Buffer] = []
        for start, end in spans:
            # Views of one storage may overlap; together they are one range.
            if self.buffers and start < self.buffers[-1].end:
                self.buffers[-1].end = max(end, self.buffers[-1].end)
            else:
                self.buffers.append(Buffer(start, end))

    def visit(self, pointers: Any, mask: Any, program: tuple[int, ...], number: int, kind: str) -> None:
        addresses = np.broadcast_to(pointers.data, np.broadcast_shapes(pointers.data.shape, mask.data.shape))
        addresses = addresses[np.broadcast_to(mask.data, addresses.shape).astype(bool)].astype(np.int64)
        if not addresses.size:
            return
        size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        starts = np.array([buffer.start for buffer in self.buffers] or [2**63 - 1])
        owner = np.searchsorted(starts, addresses, side="right") - 1
        where = f"{self.kernel}, program {program}"
        for index in np.unique(owner):
            mine = addresses[owner == index]
            if index < 0 or (mine + size > self.buffers[index].end).any():
                raise MemoryFault(f"{where}: {kind} out of bounds: {self._distance(int(index), mine, size)}")
            if not _bounds_only:
                self.buffers[index].visit(mine, number, kind, where)

    def _distance(self, index: int, addresses: np.ndarray, size: int) -> str:
        if index < 0:
            return "before the first tensor"
        buffer = self.buffers[index]
        beyond = int((addresses + size - buffer.end).max())
        return f"{beyond} bytes beyond the end of a tensor of {buffer.end - buffer.start} bytes"


def _span(tensor: Tensor) -> tuple[int, int]:
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start = torch._C.TensorBase.data_ptr(tensor)
    return start, start + (last + 1) * tensor.element_size()


def surrounded(tensor: Tensor, by: int | float, room: int = 64) -> Tensor:
    """The same tensor with memory of somebody else's, full of `by`, right before and right behind it."""
    whole = torch.full((tensor.numel() + 2 * room,), by, dtype=tensor.dtype, device=tensor.device)
    return whole[room : room + tensor.numel()].view(tensor.shape).copy_(tensor)


@contextlib.contextmanager
def bounds_only() -> Iterator[None]:
    """Inside `watch_memory`: faults are accesses outside tensors alone.

    For arguments that lie: programs of segments that overlap do meet at one place.
    """
    _bounds_only.append(True)
    try:
        yield
    finally:
        _bounds_only.pop()


@contextlib.contextmanager
def watch_memory() -> Iterator[None]:
    """Raise `MemoryFault` (inside Triton's InterpreterError) where a launch in the block errs on global memory.

    Faults: an access outside all tensors of the launch, to the byte; reading what the same launch wrote; writing one
    place twice, or one that another program reads. Tensors of a launch are its arguments and those whose `data_ptr()`
    was asked for inside the block, since kernels may find them through a table of addresses. Atomic operations are
    checked for their bounds only. A masked load without `other` gives NaN or the largest number in the masked places,
    which are undefined on a GPU.
    """
    current: list[_Launch] = []
    addressed: dict[int, weakref.ref[Tensor]] = {}
    names = ("create_masked_load", "create_masked_store", "create_atomic_rmw")
    originals = {name: getattr(InterpreterBuilder, name) for name in names}
    run = GridExecutor.__call__

    def data_ptr(self: Tensor) -> int:
        addressed[id(self)] = weakref.ref(self)
        return torch._C.TensorBase.data_ptr(self)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        alive = {key: tensor for key, ref in addressed.items() if (tensor := ref()) is not None}
        for key in addressed.keys() - alive.keys():
            del addressed[key]
        current.append(_Launch(self.fn.__name__, [*tensors, *alive.values()]))
        try:
            return run(self, *args, **kwargs)
        finally:
            current.pop()

    def visit(builder: Any, pointers: Any, mask: Any, kind: str) -> None:
        x, y, z = builder.grid_idx
        _, ny, nz = builder.grid_dim
        current[-1].visit(pointers, mask, (x, y, z), (x * ny + y) * nz + z, kind)

    def load(self: Any, pointers: Any, mask: Any, other: Any, *rest: Any) -> Any:
        visit(self, pointers, mask, "load")
        other = _undefined(pointers) if other is None else other
        return originals["create_masked_load"](self, pointers, mask, other, *rest)

    def store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        visit(self, pointers, mask, "store")
        return originals["create_masked_store"](self, pointers, value, mask, *rest)

    def atomic(self: Any, op: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        visit(self, pointers, mask, "atomic")
        return originals["create_atomic_rmw"](self, op, pointers, value, mask, *rest)

    for name, replacement in zip(names, (load, store, atomic), strict=True):
        setattr(InterpreterBuilder, name, replacement)
    GridExecutor.__call__ = call
    Tensor.data_ptr = data_ptr  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del Tensor.data_ptr
        GridExecutor.__call__ = run
        for name, original in originals.items():
            setattr(InterpreterBuilder, name, original)


def _undefined(pointers: Any) -> Any:
    kind = pointers.get_element_ty()
    numpy_kind = interpreter._get_np_dtype(kind)
    filler: Any = True
    if str(kind) == "bf16":
        filler = 0x7FC0
    elif np.issubdtype(numpy_kind, np.floating):
        filler = np.nan
    elif np.issubdtype(numpy_kind, np.integer):
        filler = np.iinfo(numpy_kind).max
    return TensorHandle(np.full(pointers.data.shape, filler, dtype=numpy_kind), kind)
