"""Arguments and help texts of `seats-ops quality`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import console, user_errors


def quality(
    smoke: Annotated[
        bool,
        typer.Option("--smoke/--full", help="200 items of every task at R = 20 % on one model, or everything: hours."),
    ] = True,
    output: Annotated[
        Path, typer.Option(help="Folder of the answers; what is there is gone on from.", show_default=True)
    ] = Path("seats-ops-quality"),
    models: Annotated[
        list[str] | None,
        typer.Option(help="Trained thinkers, by name or as files; may be repeated.", show_default="the committed ones"),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one per core")] = None,
) -> None:
    """Repeat the table of docs/quality.md: every method at equal cost on clips whose answers are known.

    Tiny thinkers of Qwen2.5-Omni's architecture, trained for it, that lie
    in a checkout of this project, from which alone this runs. Interrupted,
    it goes on where it was.
    """
    with user_errors():
        from .quality_run import run_quality

        run_quality(console(), smoke=smoke, output=output, models=tuple(models or ()), workers=workers)
