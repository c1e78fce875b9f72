"""The commands `report`, `compare` and `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.results import RESULTS


def report(
    results: Annotated[Path, typer.Argument(help="a file of JSON lines, or the folder of a GPU")],
    output: Annotated[Path | None, typer.Option(help="folder of the page; beside the results by default")] = None,
) -> None:
    """A page with a roofline and a breakdown of the latest numbers in a file."""
    from benchmarks.report import page  # Loads matplotlib.

    print(f"wrote {page.write(results, output)}")


def compare(
    before: Annotated[str, typer.Argument(help="a file or the folder of a GPU; FILE@REVISION for one revision of it")],
    after: Annotated[str, typer.Argument(help="the same")],
    threshold: Annotated[float, typer.Option(min=1.0, help="times as long that is too long")] = 1.05,
) -> None:
    """Two revisions or machines: medians, their ratio and its 95 % interval.

    Ends with 1 if something of ours is slower: if the whole interval lies above the threshold. Ends with 3 if nothing
    of ours could be judged, for want of measurements.
    """
    from benchmarks.report.difference import LEAST, differences, lines
    from benchmarks.report.numbers import table

    found = differences(before, after)
    heads = ["Timing", "before, ms", "after, ms", "times as long", "95 % interval", "verdict"]
    print(table(heads, list(lines(found, threshold))))
    if any(each.slower(threshold) for each in found):
        raise typer.Exit(1)
    ours = [each for each in found if each.ours]
    unjudged = sum(not each.judged for each in ours)
    if unjudged:
        print(f"\n{unjudged} of {len(ours)} timings of ours were not judged: fewer than {LEAST} measurements on a side")
    if unjudged == len(ours):
        raise typer.Exit(3)


def plot(
    results: Annotated[Path, typer.Argument(help="JSON lines of `run` or `growth`")] = RESULTS / "primitives.jsonl",
    target: Annotated[Path | None, typer.Argument(help="picture to write; beside the results by default")] = None,
) -> None:
    """A picture of the latest numbers of every entry in a file."""
    from benchmarks.plot import draw  # Loads matplotlib.

    target = target or results.with_suffix(".png")
    draw(results, target)
    print(f"wrote {target}")
