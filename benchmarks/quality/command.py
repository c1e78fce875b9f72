"""`python -m benchmarks quality`: from seeds to the page, step by step or at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help="AV-recall: train, gate, answer, write the page.")

Folder = Annotated[
    Path, typer.Option("--folder", help="Where models/ and results/ lie; the checkout's own are the committed ones.")
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="By layers, width, layer taught, seed; may be repeated.",
        show_default="those of docs/quality.md",
    ),
]
Smoke = Annotated[bool, typer.Option("--smoke", help="200 items of every task at one retention, the first model.")]
HERE = Path(__file__).parent
FRESH = Path("seats-ops-quality")


@app.command()
def train(folder: Folder = HERE, model: Models = None) -> None:
    """Train the models that are missing, a quarter of an hour each on two cores; interrupted, it goes on."""
    from benchmarks.quality.steps import PLANNED, Place, train_missing
    from benchmarks.quality.train import Recipe

    with _told() as told:
        for path in train_missing(Place(folder), model or PLANNED, Recipe(), told):
            print(path)


@app.command()
def gates(folder: Folder = HERE) -> None:
    """Measure every model's horizon, choose its layers, see which gates it passes."""
    from benchmarks.quality.steps import Place, trained_in

    _gate(folder, trained_in(Place(folder).models))


def _gate(folder: Path, paths: list[Path]) -> None:
    from benchmarks.quality.steps import Place, pass_gates

    place = Place(folder)
    with _told() as told:
        for path in paths:
            found = pass_gates(path, place.results, told)
            failed = [f"{one.name} on {one.task} ({one.right} of {one.items})" for one in found if not one.passed]
            print(f"{path.stem}: {len(found) - len(failed)} of {len(found)} gates passed", *failed, sep="\n  ")


@app.command()
def evaluate(folder: Folder = HERE, smoke: Smoke = False) -> None:
    """Answer all questions with all contenders, hours on two cores; interrupted, it goes on and loses nothing."""
    from benchmarks.quality.plan import FULL, SMOKE
    from benchmarks.quality.steps import Place, answer_all, trained_in

    place, extent = Place(folder), SMOKE if smoke else FULL
    with _told() as told:
        paths = trained_in(place.models)[: 1 if smoke else None]
        answer_all(paths, place.items(extent), extent, lambda done, of: told(f"chunks of 100 items, {of}", done / of))
    print(place.items(extent))


@app.command()
def page(folder: Folder = HERE) -> None:
    """Write docs/quality.md and its pictures anew from the results; of other folders a page inside them."""
    from benchmarks.quality.page import write

    print(write(folder))


@app.command("all")
def everything(folder: Folder = FRESH, model: Models = None, smoke: Smoke = False) -> None:
    """Seeds to page, in a folder of its own: what is there already is kept and gone on from."""
    from benchmarks.quality.layers import file_of
    from benchmarks.quality.steps import Place, trained_in

    place = Place(folder)
    train(folder, model)
    _gate(folder, [path for path in trained_in(place.models) if not file_of(path).exists()])
    evaluate(folder, smoke)
    if not smoke:
        page(folder)


@contextmanager
def _told() -> Iterator[Callable[[str, float], None]]:
    from rich.console import Console

    from seats_ops.cli.share_progress import share_progress

    with share_progress(Console(stderr=True)) as told:
        yield told
