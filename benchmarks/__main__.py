"""Time what this machine can run and append the numbers to a file. Without a command: `run`, then `prefill`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from benchmarks import machine, plot, whole_model
from benchmarks.ceilings import ceilings
from benchmarks.device_work import asked_of_a_gpu
from benchmarks.entry import OURS, SIZES, Entry, builders
from benchmarks.gate import require_green
from benchmarks.growth import grow
from benchmarks.memory import peak_bytes
from benchmarks.results import RESULTS, append
from benchmarks.timing import measure, spread
from seats_ops import functional

# Input sets on a GPU, so that no round finds the numbers of the one before in a cache.
INPUTS = 3

app = typer.Typer(add_completion=False, invoke_without_command=True)
app.command()(whole_model.prefill)
app.command()(whole_model.decode)
console = Console()


@app.callback(help=__doc__)
def everything(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        run()
        whole_model.prefill()


@app.command()
def run(
    names: Annotated[list[str] | None, typer.Argument(help="entries, e.g. compact stage_one; all by default")] = None,
    size: Annotated[str, typer.Option(help=f"one of {', '.join(SIZES)}")] = "paper",
    device: Annotated[str, typer.Option(help="cpu or cuda; the first GPU where there is one")] = "",
    repeats: Annotated[int, typer.Option(min=1, help="rounds in which every side has its turn")] = 7,
    output: Annotated[Path, typer.Option(help="JSON lines are appended here")] = RESULTS / "primitives.jsonl",
) -> None:
    """Primitives and stages, each beside what users would write instead."""
    known(names or [], builders(), "names")
    known([size], SIZES, "--size")
    place = machine.place(device)
    context = {**machine.describe(place), "size": size, "ceilings": ceilings(place)}
    seeds = range(INPUTS if place.type != "cpu" else 1)
    for name, build in builders().items():
        if names and name not in names:
            continue
        asked = asked_of_a_gpu(build, SIZES[size])
        for entries in zip(*(build(replace(SIZES[size], seed=seed), place) for seed in seeds), strict=True):
            tests = require_green(entries[0].tests, place.type)
            row = {"tests": tests} | _row(entries, place, repeats, context["ceilings"], asked[entries[0].name])
            append(output, {**context, **row})
            _show(row)


@app.command()
def growth(
    names: Annotated[list[str] | None, typer.Argument(help="primitives; all by default")] = None,
    longest: Annotated[int, typer.Option(help="seconds of the longest clip; an hour takes 8 GB")] = 3600,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "",
    repeats: Annotated[int, typer.Option(min=1)] = 3,
    output: Annotated[Path, typer.Option(help="JSON lines are appended here")] = RESULTS / "growth.jsonl",
) -> None:
    """Every primitive at ever longer clips, with ever more windows, and in ever larger batches."""
    known(names or [], functional.__all__, "names")
    place = machine.place(device)
    context = {**machine.describe(place), "ceilings": ceilings(place)}
    for row in grow(names, longest, place, repeats):
        append(output, {**context, **row})
        console.print(
            f"{row['name']}: {row['seconds']['median'] * 1e3:.2f} ms, peak {row['peak_bytes'] / 2**20:.1f} MiB"
        )


@app.command(name="plot")
def draw(
    results: Annotated[Path, typer.Argument(help="JSON lines of `run` or `growth`")] = RESULTS / "primitives.jsonl",
    target: Annotated[Path | None, typer.Argument(help="picture to write; beside the results by default")] = None,
) -> None:
    """A picture of the latest numbers of every entry in a file."""
    target = target or results.with_suffix(".png")
    plot.draw(results, target)
    console.print(f"wrote {target}")


def known(names: Iterable[str], among: Iterable[str], argument: str) -> None:
    """A name that nobody knows is an error, and not a run of nothing."""
    unknown = sorted(set(names) - set(among))
    if unknown:
        raise typer.BadParameter(f"got {', '.join(unknown)}, expected one of {', '.join(among)}", param_hint=argument)


def _row(
    inputs: Sequence[Entry],
    device: torch.device,
    repeats: int,
    best: dict[str, float],
    asked: dict[str, dict[str, int]],
) -> dict[str, Any]:
    """Of one entry with several inputs."""
    entry = inputs[0]
    seconds = measure([each.sides for each in inputs], device, repeats)
    times = {name: spread(taken) for name, taken in seconds.items()}
    ours = times[OURS]["median"]
    return {
        "name": entry.name,
        "sides": {
            name: {
                **times[name],
                "flops_per_s": entry.flops / times[name]["median"],
                "bytes_per_s": entry.num_bytes / times[name]["median"],
                "peak_bytes": peak_bytes(side, device),
                **asked[name],
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


def _show(row: dict[str, Any]) -> None:
    ours = row["sides"][OURS]["median"]
    others = ", ".join(
        f"{name} {side['median'] / ours:.2f}x as long, {side['launches']} launches, {side['host_reads']} reads"
        for name, side in row["sides"].items()
        if name != OURS
    )
    whole_model.say(row["tests"])
    console.print(
        f"{row['name']}: {ours * 1e3:.2f} ms, peak {row['sides'][OURS]['peak_bytes'] / 2**20:.1f} MiB, "
        f"{row['sides'][OURS]['launches']} launches, {row['sides'][OURS]['host_reads']} reads, "
        f"{row['flops_share_of_ceiling']:.0%} of FLOP/s, {row['bytes_share_of_ceiling']:.0%} of bytes/s; {others}"
    )


def main() -> None:
    """What a user can mend is said in a line, not in a traceback."""
    try:
        app()
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"benchmarks: {error}")


if __name__ == "__main__":
    main()
