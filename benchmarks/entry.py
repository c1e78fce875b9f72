"""What a benchmark is: the same work done in several ways, and what that work must move and compute."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import benchmarks

OURS = "seats_ops"


@dataclass(frozen=True)
class Size:
    """A clip, in the shapes of Qwen2.5-Omni-7B.

    Attributes:
        seconds: of video and sound.
        grids_per_second: temporal grids of the video.
        side: patches along the side of a grid.
        hidden_size: channels of the decoder.
        kept: share of the tokens that Stage I leaves, as (video, audio): 1.4 times the retention at R = 10 %.
        seed: of the numbers; another one makes another input of the same shapes.
        batch: prompts, each with such a clip. The primitives of this package take several, the other sides only one.
    """

    name: str
    seconds: int
    grids_per_second: int = 1
    side: int = 26
    hidden_size: int = 3584
    kept: tuple[float, float] = (0.084, 0.49)
    batch: int = 1
    seed: int = 0

    @property
    def grids(self) -> int:
        return self.seconds * self.grids_per_second

    @property
    def video_tokens(self) -> int:
        return self.grids * self.side**2 // 4

    @property
    def audio_tokens(self) -> int:
        return 25 * self.seconds


PAPER = Size("paper", seconds=64)
"""10,816 video and 1,600 audio tokens: 43,264 patches of 64 grids, and 64 s of sound."""
SMALL = Size("small", seconds=8, side=12, hidden_size=256)
TINY = Size("tiny", seconds=4, side=8, hidden_size=32)
"""For walking every path, not for numbers."""
SIZES = {size.name: size for size in (TINY, SMALL, PAPER, Size("ten_minutes", seconds=600), Size("hour", seconds=3600))}


@dataclass(frozen=True)
class Entry:
    """One comparison.

    Attributes:
        name: file and case, e.g. "attention_received/video".
        sides: ways to do the work by name; `OURS` is among them and comes first.
        flops: multiply-adds counted twice, that the work itself needs.
        num_bytes: that must be read and written once, whatever the implementation.
        tests: pytest arguments; a red one forbids timing.
    """

    name: str
    sides: dict[str, Callable[[], Any]]
    flops: int
    num_bytes: int
    tests: tuple[str, ...]


Builder = Callable[[Size, torch.device], Iterator[Entry]]


def builders() -> dict[str, Builder]:
    """`entries` of every `bench_<name>.py`, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    found = [name for name in names if name.startswith("bench_")]
    return {n.removeprefix("bench_"): importlib.import_module(f"benchmarks.{n}").entries for n in found}


def randn(*shape: int, device: torch.device, dtype: torch.dtype | None = None, seed: int = 0) -> Tensor:
    """The same numbers on every device; float32 on a CPU, bfloat16 on an accelerator unless told otherwise."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape) + seed))
    return values.to(device, dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16))
