"""Arguments and help texts of `seats-ops compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import run_arguments as arguments
from .options import Options
from .terminal import Json, KvPolicy, console, user_errors


def compare(
    video: arguments.Video = None,
    question: Annotated[
        str, typer.Option(help="What to ask about it, or about clips without a question.")
    ] = arguments.QUESTION,
    clips: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help='JSON lines {"video": ..., "question": ..., "name": ...}.'),
    ] = None,
    schedule: arguments.Schedules = None,
    method: arguments.Methods = None,
    retention: Annotated[
        str | None, typer.Option(help="Some of the paper's retention ratios in percent, such as 35,10.")
    ] = None,
    model: arguments.Model = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the page, the numbers and the traces; one that is there is gone on with.")
    ] = Path("seats-ops-compare"),
    fps: arguments.Fps = 2.0,
    max_frames: arguments.MaxFrames = 128,
    frame_tokens: arguments.FrameTokens = None,
    repeats: arguments.Repeats = 3,
    max_new_tokens: arguments.MaxNewTokens = None,
    kv_policy: KvPolicy = "uniform",
    backend: arguments.Backend = "auto",
    device: arguments.Device = "auto",
    dtype: arguments.Dtype = "auto",
    seed: arguments.Seed = 0,
    pages: Annotated[bool, typer.Option(help="A page and a trace for every clip and schedule.")] = True,
    as_json: Json = False,
) -> None:
    """What pruning saves and what it changes, on clips of your own: all tokens beside any number of schedules.

    Clips that do not open are reported and left out, and the status is 1 then. Every prompt is written down as it is
    measured: the same command again goes on where it stopped.
    """
    options = Options(
        model=model,
        video=video,
        schedules=tuple(schedule or ()),
        methods=tuple(method or ()),
        question=question,
        out=out,
        fps=fps,
        max_frames=max_frames,
        frame_tokens=frame_tokens,
        repeats=repeats,
        max_new_tokens=max_new_tokens,
        kv_policy=kv_policy,
        backend=backend,
        device=device,
        dtype=dtype,
        seed=seed,
    )
    with user_errors():
        from .comparing import run_compare

        found = run_compare(console(), options, clips=clips, retention=retention, pages=pages, as_json=as_json)
    if found.failed:
        raise typer.Exit(1)
