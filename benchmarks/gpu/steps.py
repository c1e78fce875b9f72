"""Steps, of which a day on a GPU consists, and how much of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.entry import PAPER, TINY, Size

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """What is done or not done as a whole.

    Attributes:
        name: part and what is in it, e.g. "parity/compact".
        seconds: what it may take on an H100; a guess for progress and budget.
        run: does it; gives rows. One with something under "wrong" makes the step a failed one.
    """

    name: str
    seconds: float
    run: Callable[[], Rows]


@dataclass(frozen=True)
class Setting:
    """How much is done.

    Attributes:
        size: of primitives, stages and parity.
        repeats: of every timing.
        goldens: cases of each kind at most; None is all.
        tests: files of tests/gpu.
        width, seconds, text: of the whole prefill; narrower where memory is short.
        prefill_repeats, retentions: rounds of it, and percents of the paper's table, what the paper leads with first.
    """

    device: torch.device
    rehearsed: bool = False
    size: Size = PAPER
    repeats: int = 10
    goldens: int | None = None
    tests: tuple[str, ...] = ("small_cases", "equal_reference", "stages", "large_offsets")
    width: int = 3584
    seconds: int = 64
    text: int = 590
    prefill_repeats: int = 5
    retentions: tuple[int, ...] = (10, 15, 25, 35)

    @classmethod
    def rehearsal(cls, device: torch.device) -> Setting:
        """Every path once, at sizes that a core does in seconds."""
        little = cls(
            device, rehearsed=True, size=TINY, repeats=2, goldens=1, tests=("small_cases", "equal_reference", "stages")
        )
        return replace(little, width=128, seconds=2, text=60, prefill_repeats=1, retentions=(10,))
