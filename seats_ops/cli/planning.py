"""`seats-ops plan`: a schedule and its cost from a config alone, or the schedule that fits a budget."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from seats_ops import seats
from seats_ops.cost import PromptLengths, prefill_cost, split_blocks
from seats_ops.integrations.huggingface.guards.refusals import check_schedule
from seats_ops.methods.seats import FAMILIES, family_name
from seats_ops.methods.seats_selector import seats_selector
from seats_ops.retention import Fit, fit_retention, paper_ratios

from .checkpoints import Checkpoint, check_name, checkpoints, expected_models, find_checkpoint
from .clip_lengths import ClipLengths, audio_block, clip_lengths, prompt_lengths
from .own_runs import load_schedule
from .plan_found import Plan
from .plan_options import OF_AUDIO, OF_VIDEO, RATIOS, PlanOptions, Resolution
from .plan_serving import check_served, plan_serving
from .tables import new_table
from .weights import weight_bytes

TEXT_TOKENS, VIDEO_TOKENS, AUDIO_TOKENS, GRID_TOKENS = 598, 9600, 1570, 154
"""Fitted to the paper's FLOPs, see `plan_command`."""

OPTIONS = {
    "max_flops": "--max-flops",
    "max_kv_bytes": "--max-kv",
    "max_memory_bytes": "--max-memory",
    "flops_share": "--flops-share",
    "kv_share": "--kv-share",
}
"""What a limit is called in Python -> on the command line."""

TEXT_BESIDE_A_CLIP = 100
"""System prompt, marks and a question of a line: the demo's prompt has some 80."""


def read_config(model: str) -> tuple[Checkpoint | None, Any]:
    """A config by a known name, file, folder or Hugging Face id, and the checkpoint where the name is a known one.

    Raises:
        ValueError: there is no such config, or it is not a known model's; names that are nobody's stay on this machine.
    """
    check_name(model)
    checkpoint = find_checkpoint(model)
    if checkpoint is not None:
        return checkpoint, checkpoint.config()
    if not Path(model).exists():
        # A hub that is not reached is asked for half a minute.
        typer.echo(f"{model}: expected {expected_models()}; asking the Hugging Face hub for it", err=True)
    from transformers import AutoConfig

    try:
        return None, AutoConfig.from_pretrained(model)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ValueError(f"model: got {model!r}, expected {expected_models()}; {reason}") from error


def make_plan(console: Console, asked: PlanOptions) -> Plan:
    """Find the plan and print it, as a table or as JSON; write the files that were asked for.

    Raises:
        ValueError, TypeError: options that exclude each other, a model that is unknown or does not take what the prompt
            has, a budget that nothing fits.
    """
    asked.check()
    found = find_plan(asked)
    if asked.plot is not None:
        from .plan_plot import draw_plan

        draw_plan(asked.plot, found)
    if asked.schedule_json is not None:
        found.schedule.save(asked.schedule_json)
    from .plan_report import as_dict, print_plan

    if asked.as_json:
        typer.echo(json.dumps(as_dict(found), indent=1))
    else:
        print_plan(console, found)
    return found


def find_plan(asked: PlanOptions) -> Plan:
    """The schedule and its cost. Raises as `make_plan`."""
    checkpoint, config = read_config(asked.model)
    thinker = getattr(config, "thinker_config", config)
    if asked.engine is not None:
        check_served(thinker, asked.model)
    clip, lengths = _prompt(asked, thinker)
    weights = None if asked.max_memory is None else weight_bytes(thinker)
    fit = _fit(asked, thinker, lengths, weights)
    ratios: tuple[float | None, float | None] | None = None
    if fit is not None:
        ratios, schedule = (fit.video, fit.audio), fit.schedule
    elif asked.schedule_file is not None:
        schedule = load_schedule(asked.schedule_file)
        check_schedule(schedule, getattr(thinker, "text_config", thinker))
    else:
        by_default = paper_ratios(thinker, 0.10)
        ratios = (
            by_default[0] if asked.video is None else asked.video,
            by_default[1] if asked.audio is None else asked.audio,
        )
        if asked.engine is None:
            schedule = seats(thinker, video=ratios[0], audio=ratios[1], exact_total=asked.exact_total)
        else:
            named = {name: ratio for name, ratio in zip(RATIOS, ratios, strict=True) if ratio is not None}
            schedule, ratios = seats_selector(thinker, named, exact_total=asked.exact_total), None
    serving = None if asked.engine is None else plan_serving(asked, thinker, schedule, lengths)
    cost = fit.cost if fit is not None else prefill_cost(thinker, schedule, lengths, kv_policy=asked.kv_policy)
    return Plan(asked, checkpoint, thinker, clip, lengths, fit, ratios, weights, schedule, cost, serving)


def _fit(asked: PlanOptions, config: Any, lengths: PromptLengths, weights: int | None) -> Fit | None:
    if not asked.budget:
        return None
    try:
        return fit_retention(
            config,
            lengths,
            max_flops=asked.max_flops,
            max_kv_bytes=asked.max_kv,
            max_memory_bytes=asked.max_memory,
            weight_bytes=weights,
            flops_share=asked.flops_share,
            kv_share=asked.kv_share,
            kv_policy=asked.kv_policy,
            exact_total=asked.exact_total,
        )
    except ValueError as error:
        name, _, rest = str(error).partition(":")
        raise ValueError(f"{OPTIONS.get(name, name)}:{rest}") from error


def _prompt(asked: PlanOptions, config: Any) -> tuple[ClipLengths | None, PromptLengths]:
    """The lengths that were asked for, and the clip where that is what was given."""
    sees_video, hears, block = _takes(config)
    for takes, what, names in ((sees_video, "video", OF_VIDEO), (hears, "audio", OF_AUDIO)):
        if not takes and asked.given(names):
            raise ValueError(f"{asked.given(names)[0]}: expected none, as {asked.model} takes no {what}")
    if asked.sound and not hears:
        raise ValueError(f"--sound: expected none, as {asked.model} takes no audio")
    if asked.seconds is None:
        video = (VIDEO_TOKENS if asked.video_tokens is None else asked.video_tokens) * sees_video
        audio = (AUDIO_TOKENS if asked.audio_tokens is None else asked.audio_tokens) * hears
        video_blocks = split_blocks(video, 2 * (asked.grid_tokens or GRID_TOKENS))
        audio_blocks = split_blocks(audio, block)
        windows = tuple(zip_longest(video_blocks, audio_blocks, fillvalue=0))
        return None, PromptLengths(asked.text_tokens or TEXT_TOKENS, video_blocks, audio_blocks, windows=windows)
    size = asked.resolution or Resolution()
    clip = clip_lengths(
        config,
        asked.seconds,
        fps=asked.fps or 2.0,
        size=(size.width, size.height),
        sound=asked.sound is not False,
        max_frames=asked.max_frames or 768,
        min_pixels=asked.min_pixels,
        max_pixels=asked.max_pixels,
    )
    return clip, prompt_lengths(config, asked.text_tokens or TEXT_BESIDE_A_CLIP, clip)


def _takes(config: Any) -> tuple[bool, bool, int]:
    """Whether a model takes video and audio, and the audio tokens of a block; both, where no family says otherwise."""
    try:
        family = FAMILIES[family_name(config)]
    except TypeError:
        return True, True, 50
    return family.sees_video, family.hears, audio_block(config)


def list_checkpoints(console: Console, *, as_json: bool) -> None:
    """Print what is known by name, and where its sizes were read."""
    if as_json:
        known = [{"id": one.id, "model_type": one.model_type, "source": one.source} for one in checkpoints()]
        typer.echo(json.dumps(known, indent=1))
        return
    table = new_table("Checkpoints known by name", ["name", "layers", "width", "video", "audio"])
    for one in checkpoints():
        text, family = one.sizes.get("text_config", one.sizes), FAMILIES[one.model_type.removesuffix("_thinker")]
        takes = ["yes" if yes else "-" for yes in (family.sees_video, family.hears)]
        table.add_row(one.name, str(text["num_hidden_layers"]), str(text["hidden_size"]), *takes)
    console.print(table)
    console.print(
        "7b and 3b are Qwen2.5-Omni's. Names count in any case, with or without their owner. A plan names where a "
        "checkpoint's sizes were read, --list --json where all were.",
        style="dim",
    )
