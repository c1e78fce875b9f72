"""How the time, the work and the memory of every primitive grow with the clip, its windows and the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from benchmarks import machine
from benchmarks.ceilings import ceilings
from benchmarks.entry import OURS, Size, builders
from benchmarks.gate import require_green
from benchmarks.idle import busy
from benchmarks.machine import named
from benchmarks.primitives import chosen, known
from benchmarks.results import RESULTS, append, into
from benchmarks.timing import Clock, measure, spread
from seats_ops import functional
from seats_ops.measure.memory import peak_bytes

# 25 video and 25 audio tokens a second: an hour has 180,000 of them.
CLIP = Size("growth", seconds=60, side=10)
TOKENS = (60, 225, 900, 3600)
# Equally many video tokens in ever more and smaller windows; none of the sound is kept, which grows with the seconds.
WINDOWS = ((16, 40), (64, 20), (256, 10))
BATCH = (1, 4, 16)
GROWTH = RESULTS / "growth.jsonl"


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


def growth(
    names: Annotated[list[str] | None, typer.Argument(help="primitives, or names of rows; all by default")] = None,
    longest: Annotated[int, typer.Option(help="seconds of the longest clip; an hour takes 8 GB")] = 3600,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "",
    repeats: Annotated[int, typer.Option(min=1)] = 5,
    output: Annotated[Path, typer.Option(help="JSON lines are appended here")] = GROWTH,
) -> None:
    """Every primitive at ever longer clips, with ever more windows, and in ever larger batches."""
    known([name for name in names or [] if not name.startswith("growth/")], functional.__all__, "names")
    place = machine.place(device)
    context = {**machine.describe(place), **busy(place), "ceilings": ceilings(place)}
    met = []
    for row in grow(names, longest, place, repeats):
        met.append(row["name"])
        row["again"] += into(output, GROWTH)
        append(output, {**context, **row})
        Console().print(
            f"{row['name']}: {row['seconds']['median'] * 1e3:.2f} ms, peak {row['peak_bytes'] / 2**20:.1f} MiB"
        )
    known([name for name in names or [] if name.startswith("growth/")], met, "names")


def grow(names: list[str] | None, longest: int, device: torch.device, repeats: int) -> Iterator[dict[str, Any]]:
    """One row per primitive and size. Along "windows" there is no sound."""
    for axis, place, size in sizes(longest):
        prefix = f"growth/{axis}/{place}/"
        # What another prefix is left on names a row of another place.
        asked = [wanted.removeprefix(prefix) for wanted in names or []]
        for name, build in builders().items():
            if name not in functional.__all__ or (asked and name not in {each.partition("/")[0] for each in asked}):
                continue
            for entry in build(size, device):
                if (axis == "windows" and "/audio" in entry.name) or not chosen(entry.name, asked):
                    continue
                tests = require_green(entry.tests, device.type)
                ours = entry.sides[OURS]
                seconds = measure([{OURS: ours}], device, repeats)[OURS]
                row, options = prefix + entry.name, f"--longest {longest} --device {named(device)} --repeats {repeats}"
                yield {
                    "name": row,
                    "again": f"python -m benchmarks growth {row} {options}",
                    "clock": Clock(device).name,
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
