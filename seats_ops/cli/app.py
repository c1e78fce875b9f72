"""Arguments and help texts. The work is in the other modules, imported when a command needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

import seats_ops

from .plan_command import plan
from .terminal import Json, KvPolicy, console, user_errors

QUESTION = "What happens in this video, and what do you hear while it happens?"

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
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hugging Face id of a Qwen2.5-Omni checkpoint, instead of the small random model."),
    ] = None,
    video: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A video with sound, instead of Big Buck Bunny.")
    ] = None,
    schedule: Annotated[
        list[Path] | None,
        typer.Option(help="A schedule of your own (.json, .yaml) instead of SEATS at four ratios; may be repeated."),
    ] = None,
    question: Annotated[str, typer.Option(help="What to ask about the video.")] = QUESTION,
    out: Annotated[Path, typer.Option(help="Folder for pictures, traces and the report.")] = Path("seats-ops-demo"),
    fps: Annotated[float, typer.Option(min=0.01, help="Frames per second to look at.")] = 2.0,
    max_frames: Annotated[int, typer.Option(min=2, help="Upper bound of frames, spread over the video.")] = 128,
    frame_tokens: Annotated[
        int | None, typer.Option(min=1, help="Upper bound of video tokens per two frames; 448, or 768 with --model.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed prefills per run; the table shows medians.")] = 3,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Answer length; 8, or 64 with --model.")] = None,
    kv_policy: KvPolicy = "uniform",
    backend: Annotated[
        Literal["auto", "triton", "reference"], typer.Option(help="What computes the selection.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Of the weights of --model.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = 0,
) -> None:
    """Run one prompt about a video with all tokens and with SEATS at 35, 25, 15 and 10 percent, and compare.

    With --schedule, schedules of your own take the place of the four.

    Without options: a real clip, Qwen2.5-Omni's architecture at a small size with random weights, no download.
    """
    from .options import Options

    chosen = Options(
        model=model,
        video=video,
        schedules=tuple(schedule or ()),
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

        run_demo(chosen, console())


@app.command()
def compare(
    video: Annotated[Path | None, typer.Option(help="One clip, instead of Big Buck Bunny.")] = None,
    question: Annotated[str, typer.Option(help="What to ask about it, or about clips without a question.")] = QUESTION,
    clips: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help='JSON lines {"video": ..., "question": ..., "name": ...}.'),
    ] = None,
    schedule: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="A schedule (.json, .yaml); may be given again."),
    ] = None,
    retention: Annotated[str | None, typer.Option(help="The paper's, in percent; without --schedule all four.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hugging Face id of a Qwen2.5-Omni checkpoint, instead of the small random model."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the page, the numbers and the traces; one that is there is gone on with.")
    ] = Path("seats-ops-compare"),
    fps: Annotated[float, typer.Option(min=0.01, help="Frames per second to look at.")] = 2.0,
    max_frames: Annotated[int, typer.Option(min=2, help="Upper bound of frames, spread over a clip.")] = 128,
    frame_tokens: Annotated[
        int | None, typer.Option(min=1, help="Upper bound of video tokens per two frames; 200, or 768 with --model.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed prefills per clip and schedule.")] = 3,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Answer length; 8, or 64 with --model.")] = None,
    kv_policy: KvPolicy = "uniform",
    backend: Annotated[
        Literal["auto", "triton", "reference"], typer.Option(help="What computes the selection.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Of the weights of --model.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = 0,
    pages: Annotated[bool, typer.Option(help="A page and a trace for every clip and schedule.")] = True,
    as_json: Json = False,
) -> None:
    """What pruning saves and what it changes, on clips of your own: all tokens beside any number of schedules.

    Clips that do not open are reported and left out, and the exit status is 1 then; every other one is written down as
    soon as it is measured. The same command again goes on where it stopped.
    """
    from .options import Options

    chosen = Options(
        model=model,
        video=video,
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

        found = run_compare(
            console(),
            chosen,
            clips=clips,
            schedules=schedule or [],
            retention=retention,
            pages=pages,
            as_json=as_json,
        )
    if found.failed:
        raise typer.Exit(1)


app.command()(plan)


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
def env(as_json: Json = False) -> None:
    """Print versions and devices, for a bug report."""
    from .environment import environment

    found = environment()
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        typer.echo(f"{name + ':':<16} {value}")
