"""The command `gpu`."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import STARTED
from benchmarks.gpu.plan import BUDGET, Plan
from benchmarks.gpu.runner import console, drive
from benchmarks.gpu.worker import Options


def gpu(
    name: Annotated[str, typer.Option(help="of the folder benchmarks/results/gpu-NAME; the device's by default")] = "",
    output: Annotated[Path | None, typer.Option(help="the folder itself, wherever it is")] = None,
    rehearse: Annotated[bool, typer.Option(help="walk every path on a CPU, at small sizes; measures nothing")] = False,
    budget: Annotated[
        float, typer.Option(help="seconds from the start; what is left is done by the same command again")
    ] = BUDGET,
    part: Annotated[list[str] | None, typer.Option(help="parts or steps, e.g. parity; all by default")] = None,
    again: Annotated[bool, typer.Option(help="also what is done already; the newest number counts")] = False,
    device: Annotated[str, typer.Option(help="cuda or cuda:N")] = "cuda",
    revision: Annotated[str, typer.Option(help="of the sources, where there is no git to ask")] = "",
    anyway: Annotated[bool, typer.Option(help="go on although versions or device are not as expected")] = False,
) -> None:
    """A first day on a GPU: tests, parity, timings and whole prefills, into one folder with one page."""
    signal.signal(signal.SIGTERM, _interrupt)
    options = Options(device, rehearse, revision, anyway)
    try:
        left = budget - (time.monotonic() - STARTED)
        folder, verdict, said = drive(Plan(options, name, output, part or (), again, left))
    except KeyboardInterrupt:
        console.print("interrupted; what was done is written, the same command goes on from there")
        raise typer.Exit(130) from None
    console.print(f"{said}; see {folder}", markup=False)
    raise typer.Exit(verdict)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
