"""The demo: one prompt about a real clip, with all tokens and with SEATS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from seats_ops.cost import PromptLengths
from seats_ops.integrations.token_layout import MediaTokens, build_token_layout

from . import model as models
from .clip import Clip, bundled_clip, load_clip
from .inputs import DEFAULT_FRAME_TOKENS, load_processor, merged_grid, own_inputs, processor_inputs
from .prompt import tokenizer
from .report import CREDIT, write_files
from .run import Run, measure, paper_runs
from .tables import cost_table, layer_flops, paper_flops, token_table

DEMO_FRAME_TOKENS = 448
"""15 x 28 tokens for a 16:9 frame: a prompt of some 2,300 tokens, and five runs in about a minute on two cores."""

RANDOM_WEIGHTS = (
    "The weights are random: the answers mean nothing, and what survives shows how selection works, not what a "
    "trained model would look at. Token counts, FLOPs, KV bytes and times are real."
)

PICTURE_NOTE = "Random weights: this shows how selection works, not what a trained model would look at."


@dataclass(frozen=True)
class Options:
    """Arguments of `seats-ops demo`; None stands for a default that depends on whether there is a checkpoint."""

    out: Path
    question: str
    model: str | None = None
    video: Path | None = None
    fps: float = 2.0
    max_frames: int = 128
    frame_tokens: int | None = None
    repeats: int = 3
    max_new_tokens: int | None = None
    kv_policy: str = "uniform"
    backend: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0


def run_demo(options: Options, console: Console) -> list[Run]:
    """Run everything, print the tables, write pictures, traces and `report.json` to `options.out`."""
    random = options.model is None
    clip = load_clip(options.video or bundled_clip(), fps=options.fps, max_frames=options.max_frames)
    if options.video is None:
        clip = replace(clip, name="Big Buck Bunny")
    device = models.pick_device(options.device)
    with console.status("building the model" if random else f"loading {options.model}"):
        if options.model is None:
            thinker = models.random_model(models.demo_config(), seed=options.seed, device=device)
        else:
            thinker = models.load_checkpoint(options.model, device=device, dtype=options.dtype)
    config = thinker.config
    inputs, prepared_by = _inputs(options, clip, config)
    layout = build_token_layout(
        inputs["input_ids"], MediaTokens.from_config(config), video_grid_thw=inputs["video_grid_thw"]
    )
    lengths = PromptLengths.from_layout(layout)
    _describe(console, options, clip, config, inputs, lengths, prepared_by)

    runs = paper_runs(config)
    on_device = {name: value.to(device) if torch.is_tensor(value) else value for name, value in inputs.items()}
    with _progress(console, len(runs) * (1 + options.repeats)) as advance:
        measure(
            thinker,
            on_device,
            runs,
            repeats=options.repeats,
            max_new_tokens=options.max_new_tokens or (8 if random else 64),
            kv_policy=options.kv_policy,
            backend=options.backend,
            progress=advance,
        )

    num_layers = config.text_config.num_hidden_layers
    console.print(token_table(runs, lengths.total, num_layers))
    flops: dict[str, list[int]] = {"here": layer_flops(config, runs, lengths)}
    if random:
        flops["on a 7B"] = paper_flops(models.qwen2_5_omni_7b_config(), runs, lengths)
    console.print(cost_table(runs, flops))
    _print_answers(console, options, runs)
    notes = [PICTURE_NOTE] * random + [CREDIT] * (options.video is None)
    files = write_files(options.out, runs, clip=clip, inputs=inputs, config=config, flops=flops, notes=notes)
    console.print(f"Written to {options.out}: " + ", ".join(file.name for file in files), soft_wrap=True)
    return runs


def _inputs(options: Options, clip: Clip, config: Any) -> tuple[dict[str, Any], str]:
    """Model inputs, and in words who prepared them."""
    reason = ""
    if options.model is not None and options.frame_tokens is None:
        try:
            processor = load_processor(options.model)
        except (ImportError, OSError, ValueError) as error:
            reason = f", as the model's own processor does not load ({str(error).strip().splitlines()[0]})"
        else:
            return processor_inputs(processor, clip, options.question), "the model's own processor"
    default = DEMO_FRAME_TOKENS if options.model is None else DEFAULT_FRAME_TOKENS
    frame_tokens = options.frame_tokens or default
    return own_inputs(clip, options.question, config, frame_tokens=frame_tokens), f"the demo's preparation{reason}"


def _describe(
    console: Console,
    options: Options,
    clip: Clip,
    config: Any,
    inputs: dict[str, Any],
    lengths: PromptLengths,
    prepared_by: str,
) -> None:
    grids, height, width = merged_grid(inputs, config)
    text = config.text_config
    what = options.model or f"Qwen2.5-Omni's architecture at 1/{models.SCALE} of the 7B's width, random weights"
    console.print(f"[bold]Model[/bold]   {what}: {text.num_hidden_layers} layers, width {text.hidden_size}")
    console.print(
        f"[bold]Clip[/bold]    {clip.name}: {len(clip.frames)} frames of {clip.duration:.1f} s, "
        + ("silent" if clip.sound is None else f"{len(clip.sound) / 16_000:.1f} s of sound")
    )
    console.print(
        f"[bold]Prompt[/bold]  {lengths.total:,} tokens: {lengths.video:,} video ({grids} x {height} x {width}), "
        f"{lengths.audio:,} audio, {lengths.text:,} text; prepared by {prepared_by}"
    )
    console.print(f"[bold]Question[/bold] {options.question}")
    if options.model is None:
        console.print(f"[yellow]{RANDOM_WEIGHTS}[/yellow]")


@contextmanager
def _progress(console: Console, steps: int) -> Iterator[Any]:
    """A function to call with a description at the start of each step: a bar, or lines where there is no terminal."""
    if not console.is_terminal:
        yield console.print
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=steps, completed=-1)
        yield lambda text: progress.update(task, description=text, advance=1)


def _print_answers(console: Console, options: Options, runs: list[Run]) -> None:
    console.print(
        "[bold]Answers[/bold]" + (" (random weights: not language)" if options.model is None else ""), highlight=False
    )
    for run in runs:
        console.print(f"  {run.name}: ", repr(tokenizer().decode(run.answer, skip_special_tokens=True)), markup=False)
