"""Arguments and help texts of `seats-ops horizon`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import run_arguments as arguments
from .horizon_options import HorizonOptions
from .options import Options
from .terminal import Json, KvPolicy, console, user_errors

PROMPTS, LAYERS, OUTPUT = "Prompts", "What is measured", "Schedule and output"


def horizon(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            help="Folder or Hugging Face id of a Qwen2.5-Omni checkpoint; without one, the small random model."
        ),
    ] = None,
    clip: Annotated[
        list[Path] | None, typer.Argument(help="Videos of your own; without one, and without --clips, Big Buck Bunny.")
    ] = None,
    question: Annotated[
        list[str] | None,
        typer.Option(
            help="What to ask about every clip, and about lines without a question; may be repeated.",
            show_default="what happens, and what is heard",
            rich_help_panel=PROMPTS,
        ),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help='JSON lines {"video": ..., "question": ..., "name": ...}.',
            rich_help_panel=PROMPTS,
        ),
    ] = None,
    fps: arguments.Fps = 2.0,
    max_frames: arguments.MaxFrames = 128,
    frame_tokens: arguments.FrameTokens = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Only these, such as 0,8-20,27; 0 is before the first.", show_default="all", rich_help_panel=LAYERS
        ),
    ] = None,
    share: Annotated[
        float, typer.Option(help="Share of every modality that relevance keeps.", rich_help_panel=LAYERS)
    ] = 0.2,
    answer_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of an answer to compare.", rich_help_panel=LAYERS)
    ] = 1,
    threshold: Annotated[
        float, typer.Option(help="Agreement that a late drop has to leave.", rich_help_panel=LAYERS)
    ] = 0.99,
    video: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Retention ratio of video in the schedule, mean over all layers.",
            show_default="the paper's R = 10 %",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    audio: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="The same of audio.", show_default="the paper's R = 10 %", rich_help_panel=OUTPUT
        ),
    ] = None,
    schedule_out: Annotated[
        Path | None,
        typer.Option(
            help="Write a schedule with the layers found to this file, .json or .yaml.", rich_help_panel=OUTPUT
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves to this .png.", rich_help_panel=OUTPUT)] = None,
    kv_policy: KvPolicy = "uniform",
    backend: arguments.Backend = "auto",
    device: arguments.Device = "auto",
    dtype: arguments.Dtype = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of shuffled scores, and of random weights.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure up to which layer answers need their video and audio, on your own clips.

    No labels. After every layer in turn: what the answers lose when all
    media leave, or one of them, and whether relevance to the query picks
    tokens that they need, beside shuffled scores; from that, layers for a
    schedule. Give five prompts or more.

    Clips that do not open are reported and left out; the status is 1 then.
    """
    run = Options(
        model=checkpoint,
        question="",
        out=Path(),
        fps=fps,
        max_frames=max_frames,
        frame_tokens=frame_tokens,
        kv_policy=kv_policy,
        backend=backend,
        device=device,
        dtype=dtype,
        seed=seed,
    )
    with user_errors():
        asked = HorizonOptions(
            run=run,
            clip=tuple(clip or ()),
            questions=tuple(question or (arguments.QUESTION,)),
            clips=clips,
            layers=layers,
            share=share,
            answer_tokens=answer_tokens,
            threshold=threshold,
            video=video,
            audio=audio,
            schedule_out=schedule_out,
            plot=plot,
            as_json=as_json,
        )
        asked.check()
        from .horizon_run import run_horizon

        complete = run_horizon(console(), asked)
    if not complete:
        raise typer.Exit(1)
