"""Arguments and help texts. The work is in the other modules, imported when a command needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import seats_ops

from . import run_arguments as arguments
from .compare_command import compare
from .horizon_command import horizon
from .options import Options
from .plan_command import plan
from .quality_command import quality
from .terminal import Json, KvPolicy, console, user_errors

app = typer.Typer(
    help="Token selection for omni-modal language models: see it work, plan it, look into it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


def version(wanted: bool) -> None:
    """Print it and leave."""
    if wanted:
        typer.echo(f"seats-ops {seats_ops.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command()
def demo(
    model: arguments.Model = None,
    video: arguments.Video = None,
    schedule: arguments.Schedules = None,
    method: arguments.Methods = None,
    question: Annotated[str, typer.Option(help="What to ask about the video.")] = arguments.QUESTION,
    out: Annotated[Path, typer.Option(help="Folder for pictures, traces and the report.")] = Path("seats-ops-demo"),
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
) -> None:
    """Run one prompt about a video with all tokens and with SEATS at 35, 25, 15 and 10 percent, and compare.

    With --schedule or --method, schedules of your own or published methods take the place of the four.

    Without options: a real clip, Qwen2.5-Omni's architecture at a small size with random weights, no download.
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
        from .demo import run_demo

        run_demo(options, console())


app.command()(compare)
app.command()(horizon)
app.command()(plan)
app.command()(quality)


@app.command()
def inspect(
    trace: Annotated[Path, typer.Argument(help="A JSON file that PruneTrace.save wrote.")],
    indices: Annotated[bool, typer.Option("--indices", help="List the kept columns of the prompt too.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with every token of a prompt to this file.")] = None,
    other: Annotated[Path | None, typer.Option(help="With --html: a trace of the same prompt to compare with.")] = None,
    row: Annotated[int, typer.Option(min=0, help="With --html: which prompt of a batch.")] = 0,
    as_json: Json = False,
) -> None:
    """Print what a saved trace says: counts, budgets per window, keys per layer; or show it as a page."""
    with user_errors():
        from .inspecting import inspect as show
        from .inspecting import write_page

        if html is None and (other is not None or row):
            raise ValueError(f"{'--row' if other is None else '--other'}: expected together with --html, got no --html")
        if html is not None and (as_json or indices):
            raise ValueError(f"{'--json' if as_json else '--indices'}: expected without --html, got both")
        if html is None:
            show(console(), trace, indices=indices, as_json=as_json)
        else:
            write_page(console(), trace, html, other, row)


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="One of them: all that is to know of it.")] = None,
    as_json: Json = False,
) -> None:
    """List the published methods that --method takes, and what the ratio of each one means."""
    with user_errors():
        from .method_list import list_methods, show_method

        if name is None:
            list_methods(console(), as_json=as_json)
        else:
            show_method(console(), name, as_json=as_json)


@app.command()
def env(as_json: Json = False) -> None:
    """Print versions and devices, for a bug report."""
    from .environment import environment

    found = environment()
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        typer.echo(f"{name + ':':<16} {value}")
