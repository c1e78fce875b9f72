"""`seats-ops compare`: unpruned against schedules, on clips of one's own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from seats_ops import seats
from seats_ops.compare import Comparison, Prompt, compare, figures

from .clip import bundled_clip
from .clip_inputs import clip_inputs
from .clip_list import ClipQuestion, read_clips
from .device import one_thread, pick_device
from .method_runs import named_methods
from .options import Options
from .own_runs import own_runs
from .prompt import tokenizer
from .prompt_progress import prompt_progress
from .report import media_of
from .run import PAPER_RATIOS
from .tables import new_table
from .thinker import thinker_of

WORST = 5
"""Prompts that the terminal shows; the page has all."""


def run_compare(
    console: Console,
    options: Options,
    *,
    clips: Path | None,
    retention: str | None,
    pages: bool,
    as_json: bool,
) -> Comparison:
    """Measure, write the folder, print what matters.

    Args:
        console: to print to.
        options: `video` and `question` are one clip's, or the question of lines without one; schedules are named by
            their files.
        clips: a file of clips and questions.
        retention: the paper's retention ratios in percent, e.g. "35,10".
        pages: write an inspector page for every clip and schedule.
        as_json: print `overall.json`'s content and nothing else.

    Raises:
        ValueError: options that exclude each other or do not fit the model. OSError: the folder cannot be written.
    """
    if clips is not None and options.video is not None:
        raise ValueError(f"--clips, --video: expected one of them, got {clips} and {options.video}")
    for name, given in (("--schedule", options.schedules), ("--method", options.methods)):
        if given and retention is not None:
            raise ValueError(f"{name}, --retention: expected one of them, got {given[0]} and {retention}")
    random = options.model is None
    listed = listed_clips(options, clips)
    # Traces lie in folders of their own.
    named = {
        run.name: run.schedule
        for run in own_runs(options.schedules, options.out / "prompts")
        if run.schedule is not None
    }
    percents = [] if options.schedules or options.methods else retention_percents(retention)
    device, status = pick_device(options.device), Console(stderr=True)
    model = thinker_of(options, device, status)
    named |= named_methods(options.methods, model.config)
    named |= {f"SEATS {p}%": seats(model.config, video=v, audio=a) for p, (v, a) in percents}
    prompts = {clip.name: _prompt(clip, options, model.config) for clip in listed}
    settings = {
        "model": options.model or f"random weights, seed {options.seed}",
        **{name: getattr(options, name) for name in ("fps", "max_frames", "frame_tokens", "dtype")},
        "device": str(device),
    }
    threads = one_thread() if random else contextlib.nullcontext()
    with threads, _stopped(status), prompt_progress(status, len(prompts)) as progress:
        result = compare(
            model,
            prompts,
            named,
            max_new_tokens=options.answer_length,
            repeats=options.repeats,
            kv_policy=options.kv_policy,
            backend=options.backend,
            decode=lambda tokens: tokenizer().decode(list(tokens), skip_special_tokens=True),
            out=options.out,
            settings=settings,
            identities={clip.name: clip.identity for clip in listed},
            pages=pages,
            notes=[figures.RANDOM] * random,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(result.to_dict(), indent=1))
    else:
        _print(console, result)
    return result


def listed_clips(options: Options, clips: Path | None) -> list[ClipQuestion]:
    """What to compare on; without a clip of the user's, the one that comes with the demo."""
    if clips is not None:
        return read_clips(clips, options.question)
    video = options.video or bundled_clip()
    return [ClipQuestion(video.stem, video, options.question)]


def retention_percents(text: str | None) -> list[tuple[int, tuple[float, float]]]:
    """Of "35,10" each with its (video, audio) retention ratios; all of them for None.

    Raises:
        ValueError: percents that the paper does not have, or the same twice.
    """
    known = ", ".join(map(str, PAPER_RATIOS))
    asked = list(map(str, PAPER_RATIOS)) if text is None else [part.strip().rstrip("%") for part in text.split(",")]
    odd = [part for part in asked if not part.isdecimal() or int(part) not in PAPER_RATIOS]
    if odd or len(set(asked)) < len(asked):
        raise ValueError(
            f"--retention: expected some of {known}, each once, which are the paper's, got {text!r}; "
            "--schedule takes any other"
        )
    return [(int(part), PAPER_RATIOS[int(part)]) for part in asked]


def _prompt(clip: ClipQuestion, options: Options, config: Any) -> Callable[[], Prompt]:
    """Decoded when it is its turn, and not held longer."""

    def prepare() -> Prompt:
        decoded, inputs = clip_inputs(clip, options, config)
        return Prompt(inputs, clip.question, media_of(decoded, inputs, config))

    return prepare


@contextlib.contextmanager
def _stopped(console: Console) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        console.print("Stopped: what was measured is kept, and the same command goes on.")
        raise


def _print(console: Console, result: Comparison) -> None:
    """The means, what they prove, the worst prompts, what failed, where the rest is."""
    number = len(result.records)
    if number:
        over = f"mean of {number} prompt{'s' * (number > 1)}"
        _print_means(console, f"Agreement with all tokens, {over}", result, figures.AGREEMENTS)
        _print_means(console, f"Share of what all tokens take, {over}; {result.clock}", result, figures.SHARES)
        for note in figures.kept_notes(result.records, result.overall):
            console.print(note, markup=False)
        console.print(*result.notes, figures.interval_note(number), figures.PROVES, style="dim", markup=False)
    if number > 1:
        _print_worst(console, result)
    for record in result.failed:
        console.print(f"[red]{escape(record.name)}: {escape(str(record.error))}[/red]", soft_wrap=True)
    if result.page is not None:
        console.print(f"Open {result.page.absolute()} in a browser.", markup=False, soft_wrap=True)


def _print_means(console: Console, title: str, result: Comparison, metrics: Sequence[str]) -> None:
    table = new_table("", ["", *[figures.TITLES[metric].replace(" ", "\n", 1) for metric in metrics]])
    for column in table.columns:
        column.vertical = "top"  # an interval stands under its mean
    for name, means in result.overall.items():
        cells = ["\n".join(filter(None, figures.mean_written(metric, means[metric]))) for metric in metrics]
        table.add_row(escape(name), *cells)
    console.print(title, style="bold", markup=False)
    console.print(table)


def _print_worst(console: Console, result: Comparison) -> None:
    names = list(result.overall)
    table = new_table("Worst by KL; same tokens", ["", *names])
    for record in result.records[:WORST]:
        runs = {run.name: run.agreement for run in record.runs[1:]}
        found = [runs[name] for name in names]
        table.add_row(escape(record.name), *[f"{each.mean_kl:.3f}  {each.tokens:.0%}" for each in found if each])
    console.print(table)
