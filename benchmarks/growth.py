"""How the time, the work and the memory of every primitive grow with the clip, its windows and the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from benchmarks.entry import OURS, Size, builders
from benchmarks.gate import require_green
from benchmarks.memory import peak_bytes
from benchmarks.timing import measure, spread
from seats_ops import functional

# 25 video and 25 audio tokens a second: an hour has 180,000 of them.
CLIP = Size("growth", seconds=60, side=10)
TOKENS = (60, 225, 900, 3600)
# Equally many video tokens in ever more and smaller windows; none of the sound is kept, which grows with the seconds.
WINDOWS = ((16, 40), (64, 20), (256, 10))
BATCH = (1, 4, 16)


def sizes(longest: int) -> Iterator[tuple[str, int, Size]]:
    """(axis, place on it, size); clips up to `longest` seconds."""
    for seconds in TOKENS:
        if seconds <= longest:
            size = replace(CLIP, seconds=seconds)
            yield "tokens", size.video_tokens + size.audio_tokens, size
    for seconds, side in WINDOWS:
        yield "windows", seconds // 2, replace(CLIP, seconds=seconds, side=side, kept=(CLIP.kept[0], 0.0))
    for batch in BATCH:
        yield "batch", batch, replace(CLIP, batch=batch)


def grow(names: list[str] | None, longest: int, device: torch.device, repeats: int) -> Iterator[dict[str, Any]]:
    """One row per primitive and size. Along "windows" there is no sound."""
    for axis, place, size in sizes(longest):
        for name, build in builders().items():
            if name not in functional.__all__ or (names and name not in names):
                continue
            for entry in build(size, device):
                if axis == "windows" and "/audio" in entry.name:
                    continue
                tests = require_green(entry.tests, device.type)
                ours = entry.sides[OURS]
                seconds = measure([{OURS: ours}], device, repeats)[OURS]
                yield {
                    "name": f"growth/{axis}/{place}/{entry.name}",
                    "tests": tests,
                    "axis": axis,
                    "place": place,
                    "entry": entry.name,
                    "seconds": spread(seconds),
                    "repeats": repeats,
                    "flops": entry.flops,
                    "bytes": entry.num_bytes,
                    "peak_bytes": peak_bytes(ours, device),
                }
