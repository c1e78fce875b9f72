"""Launching kernels: one door for all of them, so that launches can be counted and compile options are pinned."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seats_ops.backend import MAX_GRID

Launched = tuple[str, Callable[[], Any]]
"""A kernel's name, and what launches it again and returns what Triton compiled."""

_observers: list[Callable[[str, Callable[[], Any]], None]] = []


@dataclass(frozen=True)
class KernelConfig:
    """One shipped way to compile a kernel, as ahead-of-time checks need to know it.

    Attributes:
        name: of the kernel and its configuration, unique in its module.
        kernel: the `triton.jit` function.
        signature: Triton type of every runtime argument by name, e.g. `{"scores": "*fp32", "total": "i32"}`.
        constants: value of every `constexpr` argument by name.
        num_warps, num_stages, max_registers: launch options, see `launch`.
        expects: what the compiled code must show: "mma" (matrix instructions), "wide_loads" (128-bit loads).
    """

    name: str
    kernel: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    num_warps: int = 4
    num_stages: int = 1
    expects: tuple[str, ...] = field(default=())
    max_registers: int | None = None


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    *args: Any,
    num_warps: int,
    num_stages: int = 1,
    max_registers: int | None = None,
    **constants: Any,
) -> None:
    """Run `kernel` on `grid`; an empty grid launches nothing, one that no GPU takes is a ValueError.

    `max_registers` bounds the registers of a thread. Left without a bound, NVIDIA's assembler would rather spill than
    lower the number of programs that fit on a multiprocessor; AMD's compiler has no such option.
    Floating-point contraction is pinned off, so that near-ties fall the same way on every Triton version.
    """
    if 0 in grid:
        return
    if max(grid[1:], default=0) > MAX_GRID:
        raise ValueError(
            f"grid: expected at most {MAX_GRID} programs on axes 1 and 2 of {kernel.fn.__name__}, got {grid}"
        )
    device = next(arg.device for arg in args if isinstance(arg, Tensor))
    options = {} if max_registers is None or torch.version.hip else {"maxnreg": max_registers}
    options |= {"num_warps": num_warps, "num_stages": num_stages, "enable_fp_fusion": False, **constants}

    def run() -> Any:
        with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
            return kernel[grid](*args, **options)

    for observe in _observers:
        observe(kernel.fn.__name__, run)
    run()


@contextlib.contextmanager
def count_launches() -> Iterator[list[str]]:
    """Collect the names of all kernels launched inside the block."""
    names: list[str] = []
    with _observed(lambda name, run: names.append(name)):
        yield names


@contextlib.contextmanager
def keep_launches() -> Iterator[list[Launched]]:
    """Collect all launches inside the block, and with them their tensors: the name, and what launches it again."""
    launches: list[Launched] = []
    with _observed(lambda name, run: launches.append((name, run))):
        yield launches


@contextlib.contextmanager
def _observed(observe: Callable[[str, Callable[[], Any]], None]) -> Iterator[None]:
    _observers.append(observe)
    try:
        yield
    finally:
        _observers.remove(observe)


def next_power_of_2(value: int) -> int:
    """Smallest power of two that is at least `value` (1 for values below 2)."""
    return 1 << max(0, value - 1).bit_length()


def split_channels(channels: int) -> tuple[int, int]:
    """A channel count as two tiles, (head, tail): the largest power of two below it and what covers the rest.

    80 = 64 + 16 without padding; a power of two has no tail; matrix instructions want at least 16.
    """
    if channels <= 16:
        return 16, 0
    head = 1 << (channels.bit_length() - 1)
    rest = channels - head
    return head, max(16, next_power_of_2(rest)) if rest else 0
