"""Arguments that commands share which run a model on clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

QUESTION = "What happens in this video, and what do you hear while it happens?"

Model = Annotated[
    str | None,
    typer.Option(help="Folder or Hugging Face id of a Qwen2.5-Omni checkpoint, instead of the small random model."),
]
Video = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A video of your own, instead of Big Buck Bunny.")
]
Schedules = Annotated[
    list[Path] | None,
    typer.Option(help="A schedule of your own (.json, .yaml) instead of SEATS at four ratios; may be repeated."),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME=RATIO",
        help="A published method instead of SEATS (seats-ops methods), such as divprune=0.1; may be repeated.",
    ),
]
Fps = Annotated[float, typer.Option(min=0.01, help="Frames per second to look at.")]
MaxFrames = Annotated[int, typer.Option(min=2, help="Upper bound of frames, spread over a video.")]
FrameTokens = Annotated[
    int | None, typer.Option(min=1, help="Upper bound of video tokens per two frames; 200, or 768 with a checkpoint.")
]
Repeats = Annotated[int, typer.Option(min=1, help="Timed prefills of everything that is run; tables show medians.")]
MaxNewTokens = Annotated[int | None, typer.Option(min=1, help="Answer length; 8, or 64 with a checkpoint.")]
Backend = Annotated[Literal["auto", "triton", "reference"], typer.Option(help="What computes the selection.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Of the weights of the checkpoint.")
]
Seed = Annotated[int, typer.Option(help="Of the random weights.")]
