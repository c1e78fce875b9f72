"""What the demo says besides its tables: what runs on what, how far it is, what the model answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from seats_ops.cost import PromptLengths

from .clip import Clip
from .decoding import SAMPLING_RATE
from .inputs import merged_grid
from .model import SCALE
from .options import Options
from .prompt import tokenizer
from .run import Run

RANDOM_WEIGHTS = (
    "The weights are random: the answers mean nothing, and what survives shows how selection works, not what a "
    "trained model would look at. Token counts, FLOPs, KV bytes and times are real."
)


def describe(
    console: Console,
    options: Options,
    clip: Clip,
    config: Any,
    inputs: dict[str, Any],
    lengths: PromptLengths,
    prepared_by: str,
) -> None:
    """What runs on what, and whether the weights mean anything."""
    grids, height, width = merged_grid(inputs, config)
    text = config.text_config
    what = options.model or f"Qwen2.5-Omni's architecture at 1/{SCALE} of the 7B's width, random weights"
    console.print(f"[bold]Model[/bold]   {escape(what)}: {text.num_hidden_layers} layers, width {text.hidden_size}")
    console.print(
        f"[bold]Clip[/bold]    {escape(clip.name)}: {len(clip.frames)} frames of {clip.duration:.1f} s, "
        + ("silent" if clip.sound is None else f"{len(clip.sound) / SAMPLING_RATE:.1f} s of sound")
    )
    console.print(
        f"[bold]Prompt[/bold]  {lengths.total:,} tokens: {lengths.video:,} video ({grids} x {height} x {width}), "
        f"{lengths.audio:,} audio, {lengths.text:,} text; prepared by {escape(prepared_by)}"
    )
    console.print(f"[bold]Question[/bold] {escape(options.question)}")
    if options.model is None:
        console.print(f"[yellow]{RANDOM_WEIGHTS}[/yellow]")


@contextmanager
def progress_of(console: Console, steps: int) -> Iterator[Any]:
    """A function to call with a description at the start of each step: a bar, or lines where there is no terminal."""
    if not console.is_terminal:
        yield console.print
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=steps, completed=-1)
        yield lambda text: progress.update(task, description=text, advance=1)


def print_answers(console: Console, options: Options, runs: list[Run]) -> None:
    """What every run generated, special tokens left out."""
    console.print("[bold]Answers[/bold]" + (" (random weights: not language)" if options.model is None else ""))
    for run in runs:
        console.print(f"  {run.name}: ", repr(tokenizer().decode(run.answer, skip_special_tokens=True)), markup=False)
