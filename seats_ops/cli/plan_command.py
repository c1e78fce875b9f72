"""Arguments and help texts of `seats-ops plan`."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from .checkpoints import check_name
from .plan_options import PlanOptions, Resolution
from .terminal import Json, KvPolicy, console, user_errors

UNITS = {"": 1, "b": 1} | {
    unit: base**power
    for power, letter in enumerate("kmgt", 1)
    for unit, base in ((f"{letter}b", 1000), (f"{letter}ib", 1024))
}
SCHEDULE, LENGTHS, CLIP, BUDGET, ENGINE, OUTPUT = (
    "Schedule",
    "Prompt, in tokens",
    "Prompt, from a clip",
    "Budget: finds the highest retention that fits, up to 35 %",
    "Engine: what a request takes of its KV cache and its context",
    "Output",
)


def byte_size(text: str) -> int:
    """Bytes of "100MiB", "1.5 GB" or "4096"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in UNITS:
        raise typer.BadParameter(f"got {text!r}, expected bytes, such as 100MiB, 1.5GB or 4096")
    return int(float(found[1]) * UNITS[found[2]])


def positive(text: str) -> float:
    """A finite number above zero, such as 20e12."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise typer.BadParameter(f"got {text!r}, expected a number above 0, such as 20e12 or 0.1")
    return number


def picture_size(text: str) -> Resolution:
    """Of "1280x720"."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip().lower())
    if found is None or "0" in (found[1], found[2]):
        raise typer.BadParameter(f"got {text!r}, expected width x height in pixels, such as 1280x720")
    return Resolution(int(found[1]), int(found[2]))


def plan(
    model: Annotated[
        str,
        typer.Argument(
            help="A name of --list, a config.json, a checkpoint folder or a Hugging Face id; weights are not read."
        ),
    ] = "7b",
    list_known: Annotated[bool, typer.Option("--list", help="List the checkpoints known by name, and leave.")] = False,
    video: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Retention ratio of video, mean over all layers.",
            show_default="the paper's R = 10 %",
            rich_help_panel=SCHEDULE,
        ),
    ] = None,
    audio: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="The same of audio.", show_default="the paper's R = 10 %", rich_help_panel=SCHEDULE
        ),
    ] = None,
    exact_total: Annotated[
        bool,
        typer.Option(
            "--exact-total",
            help="Exact over all blocks of the prompt, where the paper rounds per block.",
            rich_help_panel=SCHEDULE,
        ),
    ] = False,
    schedule_file: Annotated[
        Path | None,
        typer.Option(
            "--schedule", help="A schedule of your own (.json, .yaml) instead of ratios.", rich_help_panel=SCHEDULE
        ),
    ] = None,
    kv_policy: KvPolicy = "uniform",
    text_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Everything but video and audio.",
            show_default="598, with --seconds 100",
            rich_help_panel=LENGTHS,
        ),
    ] = None,
    video_tokens: Annotated[
        int | None, typer.Option(min=0, help="Of the whole clip.", show_default="9600", rich_help_panel=LENGTHS)
    ] = None,
    audio_tokens: Annotated[
        int | None, typer.Option(min=0, help="Of the whole clip.", show_default="1570", rich_help_panel=LENGTHS)
    ] = None,
    grid_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Video tokens per two frames.", show_default="154", rich_help_panel=LENGTHS),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(parser=positive, metavar="SECONDS", help="Length of the clip.", rich_help_panel=CLIP)
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            parser=positive, metavar="FPS", help="Frames looked at per second.", show_default="2", rich_help_panel=CLIP
        ),
    ] = None,
    resolution: Annotated[
        Resolution | None,
        typer.Option(
            parser=picture_size,
            metavar="WxH",
            help="Width and height of the clip in pixels.",
            show_default="1280x720",
            rich_help_panel=CLIP,
        ),
    ] = None,
    sound: Annotated[
        bool | None,
        typer.Option(
            "--sound/--no-sound",
            help="Whether the clip has sound, for models that hear.",
            show_default="it has",
            rich_help_panel=CLIP,
        ),
    ] = None,
    max_frames: Annotated[
        int | None,
        typer.Option(min=2, help="Frames at most, spread over the clip.", show_default="768", rich_help_panel=CLIP),
    ] = None,
    min_pixels: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pixels of a frame at least; for Qwen3-VL of all frames.",
            show_default="the processor's",
            rich_help_panel=CLIP,
        ),
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="The same at most.", show_default="the processor's", rich_help_panel=CLIP)
    ] = None,
    max_flops: Annotated[
        float | None,
        typer.Option(
            parser=positive,
            metavar="FLOPS",
            help="FLOPs of the prefill at most, such as 20e12.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    max_kv: Annotated[
        int | None,
        typer.Option(
            parser=byte_size, metavar="SIZE", help="KV cache at most, such as 100MiB.", rich_help_panel=BUDGET
        ),
    ] = None,
    max_memory: Annotated[
        int | None,
        typer.Option(
            parser=byte_size,
            metavar="SIZE",
            help="Weights and KV cache at most, in bfloat16; a run needs more.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    flops_share: Annotated[
        float | None,
        typer.Option(
            parser=positive,
            metavar="SHARE",
            help="FLOPs at most, as a share of what all tokens cost.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    kv_share: Annotated[
        float | None,
        typer.Option(
            parser=positive, metavar="SHARE", help="KV cache at most, as such a share.", rich_help_panel=BUDGET
        ),
    ] = None,
    engine: Annotated[
        Literal["vllm"] | None,
        typer.Option(
            help="Plan for an engine, which serves stages before the LLM; without --schedule that is the one of SEATS.",
            rich_help_panel=ENGINE,
        ),
    ] = None,
    block_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens of a KV block; vLLM 0.32 takes 16 on a GPU (FlashAttention), 128 on a CPU.",
            show_default="16",
            rich_help_panel=ENGINE,
        ),
    ] = None,
    kv_cache: Annotated[
        int | None,
        typer.Option(
            parser=byte_size,
            metavar="SIZE",
            help="Memory that the engine has for its KV cache, such as 16GiB.",
            rich_help_panel=ENGINE,
        ),
    ] = None,
    max_model_len: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens of a prompt with its answer at most.",
            show_default="the model's context",
            rich_help_panel=ENGINE,
        ),
    ] = None,
    answer_tokens: Annotated[
        int | None, typer.Option(min=1, help="Of every answer.", show_default="1", rich_help_panel=ENGINE)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw cost by layer and by retention to this .png.", rich_help_panel=OUTPUT)
    ] = None,
    schedule_json: Annotated[
        Path | None, typer.Option(help="Write the schedule to this file, .json or .yaml.", rich_help_panel=OUTPUT)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a SEATS schedule and what it costs on a model, from the config alone; or find the one that fits a budget.

    The default lengths are fitted: with them the cost formula gives the paper's 111.0 and 12.2 TFLOPs on the 7B.
    """
    # First, while nothing but the arguments is local.
    asked = PlanOptions(**locals())
    with user_errors():
        # A wrong name is said before anything large is imported.
        check_name(model)
        from .planning import list_checkpoints, make_plan

        if list_known:
            list_checkpoints(console(), as_json=as_json)
        else:
            make_plan(console(), asked)
