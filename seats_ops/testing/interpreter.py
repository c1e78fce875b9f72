"""Triton's interpreter, made to tell the truth about bfloat16, and its programs run in another order.

Set TRITON_INTERPRET=1 before Triton is imported, then call these.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import triton
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

ORDERS = ("forward", "reversed", "shuffled")

_in_order = InterpreterBuilder.set_grid_idx


def why_not_interpreted() -> str | None:
    """The reason why these versions of Triton and numpy interpret nothing together, or None if they do."""
    if _release(triton.__version__) < (3, 7) and _release(np.__version__) >= (2, 4):
        return f"the interpreter of Triton {triton.__version__} needs numpy < 2.4, got {np.__version__}"
    return None


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


def repair_interpreter() -> None:
    """Give the interpreter correct bfloat16 arithmetic, for the rest of the process. May be called again.

    Raises RuntimeError where `why_not_interpreted` has a reason.

    Triton 3.6 to 3.9 keep bfloat16 as its raw 16 bits, multiply those bits as integers in `tl.dot`, and cut the lower
    bits off when they cast float32 down. Afterwards a dot multiplies the values, and casts round to nearest, ties to
    even, as GPUs do.
    """
    reason = why_not_interpreted()
    if reason is not None:
        raise RuntimeError(reason)
    if getattr(InterpreterBuilder.create_dot, "repaired", False):
        return
    dot, cast = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl

    def create_dot(self: Any, a: Any, b: Any, d: Any, *options: Any) -> Any:
        return dot(self, _widened(a), _widened(b), d, *options)

    def cast_impl(self: Any, source: Any, target: Any) -> Any:
        kinds = (source.dtype.scalar, target.scalar)
        if kinds == (tl.bfloat16, tl.float32):
            return _widened(source)
        if kinds == (tl.float32, tl.bfloat16):
            return TensorHandle(_round_to_bfloat16(source.data), tl.bfloat16)
        return cast(self, source, target)

    create_dot.repaired = True  # type: ignore[attr-defined]
    InterpreterBuilder.create_dot = create_dot
    InterpreterBuilder.cast_impl = cast_impl


def _widened(value: Any) -> Any:
    if value.dtype.scalar != tl.bfloat16:
        return value
    bits = np.ascontiguousarray(value.data).astype(np.uint32) << np.uint32(16)
    return TensorHandle(bits.view(np.float32), tl.float32)


def _round_to_bfloat16(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values).view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FC0), nearest).astype(np.uint16)


@contextlib.contextmanager
def program_order(order: str, seed: int = 0) -> Iterator[None]:
    """Run the programs of every launch inside the block in another order; the innermost block counts.

    A GPU promises none: a kernel whose result depends on it is wrong.

    Args:
        order: "forward", "reversed" or "shuffled" (anew for every launch).
        seed: of the shuffling.
    """
    if order not in ORDERS:
        raise ValueError(f"order: expected one of {ORDERS}, got {order!r}")
    shuffler = random.Random(seed)
    outer: Callable[..., None] = InterpreterBuilder.set_grid_idx
    turn: list[int] = []

    def set_grid_idx(self: Any, x: int, y: int, z: int) -> None:
        _, ny, nz = self.grid_dim
        step = (x * ny + y) * nz + z
        if step == 0:
            turn[:] = range(self.grid_dim[0] * ny * nz)
            if order == "reversed":
                turn.reverse()
            elif order == "shuffled":
                shuffler.shuffle(turn)
        rest, z = divmod(turn[step], nz)
        _in_order(self, *divmod(rest, ny), z)

    InterpreterBuilder.set_grid_idx = set_grid_idx
    try:
        yield
    finally:
        InterpreterBuilder.set_grid_idx = outer
