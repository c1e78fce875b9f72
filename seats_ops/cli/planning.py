"""`seats-ops plan`: a schedule and its cost from a config alone."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import typer
from rich.console import Console

from seats_ops import Schedule, seats
from seats_ops.cost import Cost, PromptLengths, prefill_cost, split_blocks

from .model import SUCH_AS, may_be_a_model, qwen2_5_omni_3b_config, qwen2_5_omni_7b_config
from .tables import new_table

KNOWN = {"7b": qwen2_5_omni_7b_config, "3b": qwen2_5_omni_3b_config}

AUDIO_PER_WINDOW, GRIDS_PER_WINDOW = 50, 2
"""Two seconds: 25 audio tokens per second, and one temporal patch per second at two frames per second."""


def read_config(model: str) -> Any:
    """A config by short name, file, folder or Hugging Face id.

    Raises:
        ValueError: there is no such config, or it is not a known model's; names that are nobody's stay on this machine.
    """
    if model.lower() in KNOWN:
        return KNOWN[model.lower()]()
    from transformers import AutoConfig

    expected = f"{', '.join(KNOWN)}, a config.json, a folder with one, or a Hugging Face id {SUCH_AS}"
    if not may_be_a_model(model):
        raise ValueError(f"model: got {model!r}, expected {expected}")
    try:
        return AutoConfig.from_pretrained(model)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ValueError(f"model: got {model!r}, expected {expected}; {reason}") from error


def prompt_lengths(text: int, video: int, audio: int, *, grid_tokens: int) -> PromptLengths:
    """Lengths of a prompt with one video at two frames per second and its sound, interleaved every two seconds."""
    video_blocks = split_blocks(video, GRIDS_PER_WINDOW * grid_tokens)
    audio_blocks = split_blocks(audio, AUDIO_PER_WINDOW)
    windows = tuple(zip_longest(video_blocks, audio_blocks, fillvalue=0))
    return PromptLengths(text, video_blocks, audio_blocks, windows=windows)


def plan(
    console: Console,
    model: str,
    *,
    retention: tuple[float, float],
    tokens: tuple[int, int, int],
    grid_tokens: int,
    kv_policy: Literal["uniform", "per-layer"],
    schedule_json: Path | None,
    schedule_file: Path | None = None,
    as_json: bool = False,
) -> Schedule:
    """Print the schedule with its cost per segment of layers, and write it as JSON where asked to.

    Args:
        console: To print to.
        model: See `read_config`.
        retention: (video, audio) retention ratios.
        tokens: (text, video, audio) tokens of the prompt.
        grid_tokens: Video tokens per temporal patch.
        kv_policy: As in `attach`.
        schedule_json: File to write the schedule to.
        schedule_file: A schedule of one's own, instead of the retention ratios.
        as_json: Print schedule and cost as JSON, nothing else.
    """
    config = read_config(model)
    lengths = prompt_lengths(*tokens, grid_tokens=grid_tokens)
    if schedule_file is None:
        schedule = seats(config, video=retention[0], audio=retention[1])
    else:
        schedule = Schedule.load(schedule_file)
    thinker = getattr(config, "thinker_config", config)
    cost = prefill_cost(thinker, schedule, lengths, kv_policy=kv_policy)
    if schedule_json is not None:
        schedule.save(schedule_json)
    if as_json:
        typer.echo(json.dumps(_as_dict(model, schedule, cost, kv_policy), indent=1))
        return schedule
    ratios = [""] + [getattr(stage, "keep_ratio", 0.0) for _, stage in schedule.stages()]
    table = new_table(f"Schedule on {model}", ["stage", "keeps", "layers", "tokens", "TFLOPs", "KV MiB"])
    for stage, ratio in zip(cost.stages, ratios, strict=True):
        layers = f"{stage.layers.start}-{stage.layers.stop - 1}" if stage.layers else "-"
        table.add_row(
            stage.name,
            _ratio(ratio),
            layers,
            f"{stage.tokens:,}",
            f"{stage.flops / 1e12:.2f}",
            f"{stage.kv_bytes / 2**20:.1f}",
        )
    console.print(table)
    console.print(
        f"Prefill: {cost.flops / 1e12:.1f} of {cost.full_flops / 1e12:.1f} TFLOPs ({1 / cost.flops_share:.1f}x fewer). "
        f"KV cache, {kv_policy}, bfloat16: {cost.kv_bytes / 2**20:.1f} of {cost.full_kv_bytes / 2**20:.1f} MiB.",
        soft_wrap=True,
    )
    console.print(
        "One FLOP per multiply-add, decoder layers and output head; encoders and selection are not counted. "
        "Token counts after a drop may differ by a few from what a run keeps.",
        style="dim",
        soft_wrap=True,
    )
    if schedule_json is not None:
        console.print(f"Written to {schedule_json}")
    return schedule


def _as_dict(model: str, schedule: Schedule, cost: Cost, kv_policy: str) -> dict[str, Any]:
    return {
        "model": model,
        "kv_policy": kv_policy,
        "flops": cost.flops,
        "full_flops": cost.full_flops,
        "kv_bytes": cost.kv_bytes,
        "full_kv_bytes": cost.full_kv_bytes,
        "stages": [
            {
                "name": stage.name,
                "layers": [stage.layers.start, stage.layers.stop - 1] if stage.layers else [],
                "tokens": stage.tokens,
                "flops": stage.flops,
                "kv_bytes": stage.kv_bytes,
            }
            for stage in cost.stages
        ],
        "schedule": schedule.to_dict(),
    }


def _ratio(ratio: Any) -> str:
    if isinstance(ratio, str):
        return ratio
    if isinstance(ratio, float):
        return f"{ratio:.1%}"
    return ", ".join(f"{name} {value:.1%}" for name, value in ratio.items())
