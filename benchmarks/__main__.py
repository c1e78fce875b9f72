"""`python -m benchmarks run`: time what this machine can run and append the numbers; `plot` draws them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import machine, plot
from benchmarks.ceilings import ceilings
from benchmarks.entry import OURS, SIZES, Entry, builders
from benchmarks.gate import require_green
from benchmarks.memory import peak_bytes
from benchmarks.timing import measure, spread
from benchmarks.whole_prefill import compare

RESULTS = Path(__file__).parent / "results"
PREFILL_TESTS = ("tests/integrations/test_golden_end_to_end.py", "tests/integrations/test_cost_against_trace.py")

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
console = Console()


@app.command()
def run(
    names: Annotated[list[str] | None, typer.Argument(help="entries, e.g. compact stage_one; all by default")] = None,
    size: Annotated[str, typer.Option(help=f"one of {', '.join(SIZES)}")] = "paper",
    device: Annotated[str, typer.Option(help="cpu or cuda; the first GPU where there is one")] = "",
    repeats: Annotated[int, typer.Option(min=1, help="rounds in which every side has its turn")] = 7,
    output: Annotated[Path, typer.Option(help="JSON lines are appended here")] = RESULTS / "primitives.jsonl",
) -> None:
    """Primitives and stages, each beside what users would write instead."""
    place = _place(device)
    context = {**machine.describe(place), "size": size, "ceilings": ceilings(place)}
    for name, build in builders().items():
        if names and name not in names:
            continue
        for entry in build(SIZES[size], place):
            require_green(entry.tests)
            row = _row(entry, place, repeats, context["ceilings"])
            _append(output, {**context, **row})
            _show(row)


@app.command()
def prefill(
    width: Annotated[int, typer.Option(help="of the decoder; 28 layers as in the 7B")] = 512,
    seconds: Annotated[int, typer.Option(help="of the clip, 194 tokens each")] = 24,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "",
    repeats: Annotated[int, typer.Option(min=1)] = 3,
    output: Annotated[Path, typer.Option(help="JSON lines are appended here")] = RESULTS / "prefill.jsonl",
) -> None:
    """Whole prefills at the paper's retention ratios, beside the model without pruning."""
    place = _place(device)
    require_green(PREFILL_TESTS)
    context = machine.describe(place)
    table = Table("retention", "speed-up", "FLOPs executed", "realised", "FLOPs, paper", "realised", "own cost", "KV")
    for row in compare(width, seconds, place, repeats):
        _append(output, {**context, **row})
        table.add_row(
            row["name"].removeprefix("prefill/") + " %",
            f"{row['speedup']:.2f}x",
            f"{row['flops_reduction_executed']:.2f}x",
            f"{row['realised_of_executed']:.0%}",
            f"{row['flops_reduction_paper']:.2f}x",
            f"{row['realised_of_paper']:.0%}",
            f"{row['own_share']:.1%}",
            f"{row['kv_bytes'] / row['kv_bytes_unpruned']:.1%}",
        )
    console.print(table)


@app.command(name="plot")
def draw(
    results: Annotated[Path, typer.Argument(help="JSON lines of `run`")] = RESULTS / "primitives.jsonl",
    target: Annotated[Path, typer.Argument(help="picture to write")] = RESULTS / "primitives.png",
) -> None:
    """A picture of the latest numbers of every entry in a file."""
    plot.draw(results, target)
    console.print(f"wrote {target}")


def _place(device: str) -> torch.device:
    """One thread on a CPU: what threads add differs from moment to moment on a shared machine."""
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if place.type == "cpu":
        torch.set_num_threads(1)
    return place


def _row(entry: Entry, device: torch.device, repeats: int, best: dict[str, float]) -> dict[str, Any]:
    seconds = measure(entry.sides, device, repeats)
    ours = spread(seconds[OURS])["median"]
    return {
        "name": entry.name,
        "sides": {
            name: {**spread(seconds[name]), "peak_bytes": peak_bytes(side, device)}
            for name, side in entry.sides.items()
        },
        "repeats": repeats,
        "flops": entry.flops,
        "bytes": entry.num_bytes,
        "flops_share_of_ceiling": entry.flops / ours / best["flops_per_s"],
        "bytes_share_of_ceiling": entry.num_bytes / ours / best["bytes_per_s"],
    }


def _append(path: Path, row: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _show(row: dict[str, Any]) -> None:
    ours = row["sides"][OURS]["median"]
    others = ", ".join(
        f"{name} {side['median'] / ours:.2f}x as long" for name, side in row["sides"].items() if name != OURS
    )
    console.print(
        f"{row['name']}: {ours * 1e3:.2f} ms, peak {row['sides'][OURS]['peak_bytes'] / 2**20:.1f} MiB, "
        f"{row['flops_share_of_ceiling']:.0%} of FLOP/s, {row['bytes_share_of_ceiling']:.0%} of bytes/s; {others}"
    )


if __name__ == "__main__":
    app()
