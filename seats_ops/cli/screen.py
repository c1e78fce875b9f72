"""What the demo says besides its table: what ran on what, how far it is, what the model answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from seats_ops.cost import PromptLengths

from .clip import Clip
from .model import SCALE
from .options import Options
from .prompt import tokenizer
from .run import Run

RANDOM_WEIGHTS = (
    f"Random weights, at 1/{SCALE} of the 7B's width: what is kept shows how selection works, not what a trained model "
    "would look at, and the answers mean nothing. Token counts, FLOPs, KV cache and times are real."
)

SECONDS_BETWEEN_LINES = 30.0
"""In a log: often enough to see that a checkpoint is still at work, and nothing of a demo that takes no longer."""


def headline(options: Options, clip: Clip, lengths: PromptLengths) -> str:
    """What ran on what."""
    sound = f"and {lengths.audio:,} audio tokens" if clip.sound is not None else "tokens, silent"
    what = options.model or "Qwen2.5-Omni"
    return f"{clip.name} ({clip.duration:.1f} s, {lengths.video:,} video {sound}) on {what}"


@contextmanager
def progress_of(console: Console, steps: int) -> Iterator[Callable[[str], None]]:
    """A function to call with a description at the start of each step: a bar, or a line now and then in a log."""
    if not console.is_terminal:
        yield _lines(console, steps)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=steps, completed=-1)
        yield lambda text: progress.update(task, description=escape(text), advance=1)


def _lines(console: Console, steps: int) -> Callable[[str], None]:
    done, last = 0, time.monotonic()

    def step(text: str) -> None:
        nonlocal done, last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            console.print(f"{done} of {steps} steps done; {text}", markup=False)
        done += 1

    return step


def print_answers(console: Console, question: str, runs: list[Run]) -> None:
    """What every run generated, a line each."""
    console.print(f"[bold]{escape(question)}[/bold]")
    width = max(len(run.name) for run in runs)
    for run in runs:
        answer = " ".join(answer_of(run).split())
        console.print(f"{run.name:<{width}}  {answer}", markup=False, no_wrap=True, overflow="ellipsis")


def answer_of(run: Run) -> str:
    """As text, special tokens left out."""
    return str(tokenizer().decode(run.answer, skip_special_tokens=True))
