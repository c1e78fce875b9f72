"""The command `run`: primitives and stages, each beside what users would write instead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from benchmarks import machine
from benchmarks.ceilings import ceilings
from benchmarks.device_work import asked_of_a_gpu
from benchmarks.entry import OURS, SIZES, Builder, Entry, Size, builders
from benchmarks.gate import require_green, say
from benchmarks.idle import busy
from benchmarks.kernel_time import kernel_time
from benchmarks.observe import host_waits, kernels, launches, pageable
from benchmarks.results import RESULTS, append, into
from benchmarks.timing import KINDS, Clock, measure, spread
from seats_ops.measure.memory import peak_bytes

# Input sets on a GPU, so that no round finds the numbers of the one before in a cache.
INPUTS = 3
PRIMITIVES = RESULTS / "primitives.jsonl"

console = Console()


def run(
    names: Annotated[list[str] | None, typer.Argument(help="e.g. compact, stage_one/clip; all by default")] = None,
    size: Annotated[str, typer.Option(help=f"one of {', '.join(SIZES)}")] = "paper",
    device: Annotated[str, typer.Option(help="cpu or cuda; the first GPU where there is one")] = "",
    repeats: Annotated[int, typer.Option(min=1, help="rounds in which every side has its turn")] = 7,
    clock: Annotated[str | None, typer.Option(help=f"on a GPU one of {', '.join(KINDS)}")] = None,
    warm: Annotated[bool, typer.Option(help="leave the L2 cache of a GPU as the call before left it")] = False,
    output: Annotated[Path, typer.Option(help="JSON lines are appended here")] = PRIMITIVES,
) -> None:
    """Primitives and stages, each beside what users would write instead."""
    known([name.partition("/")[0] for name in names or []], builders(), "names")
    known([size], SIZES, "--size")
    place = machine.place(device)
    timer = Clock(place, clock, cold=not warm)
    context = {**machine.describe(place), **busy(place), "size": size, "ceilings": ceilings(place)}
    met = []
    for name, build in builders().items():
        if names and name not in {wanted.partition("/")[0] for wanted in names}:
            continue
        for inputs in inputs_of(build, SIZES[size], place):
            met.append(inputs[0].name)
            if not chosen(inputs[0].name, names):
                continue
            tests = require_green(inputs[0].tests, place.type)
            row = {"tests": tests, **row_of(inputs, build, SIZES[size], timer, repeats, context["ceilings"])}
            row["again"] += into(output, PRIMITIVES)
            append(output, {**context, **row})
            _show(row)
    known([name for name in names or [] if "/" in name], met, "names")


def known(names: Iterable[str], among: Collection[str], argument: str) -> None:
    """A name that nobody knows is an error, and not a run of nothing."""
    unknown = sorted(set(names) - set(among))
    if unknown:
        raise typer.BadParameter(f"got {', '.join(unknown)}, expected one of {', '.join(among)}", param_hint=argument)


def chosen(name: str, names: Iterable[str] | None) -> bool:
    """Whether a row is asked for: by its own name, by that of what it is a case of, or because nothing is named."""
    return not names or any(name == wanted or name.startswith(f"{wanted}/") for wanted in names)


def inputs_of(build: Builder, size: Size, device: torch.device) -> Iterator[tuple[Entry, ...]]:
    """Every entry of a builder, as often as there are sets of inputs."""
    seeds = range(INPUTS if device.type != "cpu" else 1)
    return zip(*(build(replace(size, seed=seed), device) for seed in seeds), strict=True)


def row_of(
    inputs: Sequence[Entry], build: Builder, size: Size, clock: Clock, repeats: int, best: dict[str, float]
) -> dict[str, Any]:
    """Of one entry with several inputs."""
    entry, device = inputs[0], clock.device
    times = {n: spread(taken) for n, taken in measure([e.sides for e in inputs], device, repeats, clock).items()}
    asked = asked_of_a_gpu(build, size)[entry.name] if device.type == "cpu" else {}
    ours = times[OURS]["median"]
    options = "" if device.type == "cpu" else f" --clock {clock.kind}" + ("" if clock.cold else " --warm")
    return {
        "name": entry.name,
        "again": f"python -m benchmarks run {entry.name} --size {size.name} --device {machine.named(device)}"
        f" --repeats {repeats}{options}",
        "clock": clock.name,
        "sides": {
            name: {
                **times[name],
                "flops_per_s": entry.flops / times[name]["median"],
                "bytes_per_s": entry.num_bytes / times[name]["median"],
                "peak_bytes": peak_bytes(side, device),
                **(asked[name] if asked else seen_on_a_gpu([e.sides[name] for e in inputs], clock, repeats)),
            }
            for name, side in entry.sides.items()
        },
        "repeats": repeats,
        "inputs": len(inputs),
        "flops": entry.flops,
        "bytes": entry.num_bytes,
        "flops_share_of_ceiling": entry.flops / ours / best["flops_per_s"],
        "bytes_share_of_ceiling": entry.num_bytes / ours / best["bytes_per_s"],
    }


def seen_on_a_gpu(runs: Sequence[Callable[[], Any]], clock: Clock, repeats: int) -> dict[str, Any]:
    """Launches, waits of the host, what a caller waits for, and the kernels alone: in a row, and added up."""
    device, waits = clock.device, host_waits(runs[0])
    wall = measure([{"": run} for run in runs], device, repeats, Clock(device, "wall", cold=clock.cold))
    done = kernels(runs[0], device)
    return {
        "launches": launches(done),
        "host_reads": waits,
        "pageable_copies": pageable(done),
        "kernel_durations": sum(seconds for _, seconds in done),
        "caller": spread(wall[""]),
        **kernel_time(runs, device, repeats, cold=clock.cold, waits=waits),
    }


def _show(row: dict[str, Any]) -> None:
    ours = row["sides"][OURS]["median"]
    others = ", ".join(
        f"{name} {side['median'] / ours:.2f}x as long, {side['launches']} launches, {side['host_reads']} reads"
        for name, side in row["sides"].items()
        if name != OURS
    )
    say(row["tests"])
    console.print(
        f"{row['name']}: {ours * 1e3:.2f} ms, peak {row['sides'][OURS]['peak_bytes'] / 2**20:.1f} MiB, "
        f"{row['sides'][OURS]['launches']} launches, {row['sides'][OURS]['host_reads']} reads, "
        f"{row['flops_share_of_ceiling']:.0%} of FLOP/s, {row['bytes_share_of_ceiling']:.0%} of bytes/s; {others}"
    )
