"""The command `tune`."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks import machine
from benchmarks.idle import unfit
from benchmarks.results import RESULTS
from benchmarks.tune import variants
from benchmarks.tune.cases import KERNELS, case_of, entries
from benchmarks.tune.sweep import Broken, Row, sweep, values_of
from benchmarks.tune.table import TableFile
from seats_ops.ops.tile_grid import changed
from seats_ops.ops.tile_tables import VARIABLE, device_kind, table_of

# Candidates of an entry in a rehearsal, which walks every path and measures nothing.
REHEARSED = 3
console = Console()


def tune(
    names: Annotated[list[str] | None, typer.Argument(help="primitives or entries, e.g. compact gram/fp32")] = None,
    device: Annotated[str, typer.Option(help="cuda or cuda:N")] = "cuda",
    repeats: Annotated[int, typer.Option(min=1, help="measurements of every candidate")] = 15,
    output: Annotated[Path | None, typer.Option(help="the table; benchmarks/results/tiles-DEVICE.json")] = None,
    rehearse: Annotated[bool, typer.Option(help="a few candidates at small sizes in Triton's interpreter")] = False,
    anyway: Annotated[bool, typer.Option(help="go on although the device is not idle")] = False,
) -> None:
    """Block sizes, warps and stages of the kernels, tried on the device at hand; writes a launch table."""
    wanted = _wanted(names or [])
    place = _rehearsal() if rehearse else _gpu(device, anyway)
    table = table_of(device_kind(place) if place.type == "cuda" else "")
    file = TableFile(output or RESULTS / f"tiles-{_slug(place)}.json", place, rehearse)
    try:
        for number, entry in enumerate(wanted, start=1):
            own = values_of(entry, table[entry])
            case = case_of(entry, place, small=rehearse)
            begin = functools.partial(file.begin, entry)
            for row in sweep(case, table, place, repeats, file.rows(entry), begin, REHEARSED if rehearse else None):
                file.add(entry, row)
                _say(entry, row)
            while reason := variants.fault(entry, changed(table[entry], file.best(entry, own)), table, place):
                file.add(entry, {"values": file.best(entry, own), "refused": reason})
            settled = file.settle(entry, own)
            console.print(f"[{number}/{len(wanted)}] {entry}: {settled}, shipped {own}", markup=False, highlight=False)
    except Broken as broken:
        file.add(entry, broken.row)
        raise RuntimeError(f"{broken}; it is refused from now on: run the same command again") from broken
    except KeyboardInterrupt:
        file.withdraw()
        console.print(f"interrupted; {file.path} has what was measured, the same command goes on from there")
        raise typer.Exit(130) from None
    what = "rehearsed, which no launch follows" if rehearse else f"to follow it: {VARIABLE}={file.path}"
    console.print(f"wrote {file.path}; {what}", highlight=False)


def _wanted(names: list[str]) -> list[str]:
    known = {primitive: entries(primitive) for primitive in KERNELS}
    every = [entry for group in known.values() for entry in group]
    unknown = sorted(set(names) - known.keys() - set(every))
    if unknown:
        expected = f"{', '.join(known)}, or an entry: {', '.join(every)}"
        raise typer.BadParameter(f"got {', '.join(unknown)}, expected one of {expected}", param_hint="names")
    chosen = {entry for name in names for entry in known.get(name, [name])}
    return [entry for entry in every if not names or entry in chosen]


def _gpu(device: str, anyway: bool) -> torch.device:
    if device.partition(":")[0] != "cuda":
        raise ValueError(f"device: got {device}, expected cuda or cuda:N; --rehearse walks the same way on a CPU")
    if not torch.cuda.is_available():
        raise RuntimeError(f"device: found none, expected {device}; --rehearse walks the same way on a CPU")
    place = machine.place(device)
    reasons = unfit(place)
    if reasons and not anyway:
        raise RuntimeError(f"{'; '.join(reasons)}; --anyway measures all the same")
    return place


def _rehearsal() -> torch.device:
    found = os.environ.get("TRITON_INTERPRET")
    if found != "1":
        raise RuntimeError(f"TRITON_INTERPRET: expected 1 for a rehearsal, got {found or 'nothing'}")
    from seats_ops.testing.interpreter import repair_interpreter

    repair_interpreter()
    return machine.place("cpu")


def _slug(place: torch.device) -> str:
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else "rehearsed"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _say(entry: str, row: Row) -> None:
    said = f"{row['seconds']['median'] * 1e6:.1f} us" if "seconds" in row else f"refused: {row['refused']}"
    console.print(f"{entry} {row['values']}: {said}", highlight=False)
