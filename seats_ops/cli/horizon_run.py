"""`seats-ops horizon`: which layers need the media, on clips of one's own."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from seats_ops import Schedule
from seats_ops.compare.figures import RANDOM
from seats_ops.files import write_whole
from seats_ops.horizon import RELEVANCE, SHUFFLED, Horizon, Suggestion, measure_horizon
from seats_ops.retention import paper_ratios

from .clip import bundled_clip
from .clip_inputs import clip_inputs
from .clip_list import ClipQuestion, read_clips
from .device import one_thread, pick_device
from .horizon_options import HorizonOptions
from .horizon_report import print_horizon
from .prompt_progress import prompt_progress
from .thinker import thinker_of


@dataclass
class _Failed:
    """Clips that could not be run, by name, each said as soon as it is known."""

    console: Console
    names: list[str]
    reasons: dict[str, str] = field(default_factory=dict)

    def __call__(self, number: int, error: Exception) -> None:
        kind = "" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: "
        self.reasons[self.names[number]] = f"{kind}{error}"
        self.console.print(f"[red]{escape(f'{self.names[number]}: {kind}{error}')}[/red]", soft_wrap=True)


def run_horizon(console: Console, asked: HorizonOptions) -> bool:
    """Measure, print, write what was asked for; whether all clips ran, and the schedule could be suggested.

    Args:
        console: to print to.
        asked: checked.

    Raises:
        ValueError: options that do not fit the model, no clip that runs. OSError: a file cannot be written.
    """
    run, status = asked.run, Console(stderr=True)
    listed = _listed(asked)
    model = thinker_of(run, pick_device(run.device), status)
    ratios = _ratios(asked, model.config)
    names = [clip.name for clip in listed]
    failed = _Failed(status, names)
    threads = one_thread() if run.model is None else contextlib.nullcontext()
    with threads, prompt_progress(status, len(names)) as progress:
        found = measure_horizon(
            model,
            [_prompt(clip, asked, model.config) for clip in listed],
            layers=asked.chosen_layers(),
            share=asked.share,
            answer_tokens=asked.answer_tokens,
            seed=run.seed,
            kv_policy=run.kv_policy,
            backend=run.backend,
            on_error=failed,
            progress=lambda number, done, text: progress(number + done, f"{names[number]}: {text}"),
        )
    suggestion = found.suggest(asked.threshold)
    notes = [RANDOM] if run.model is None else []
    if asked.as_json:
        ran = [name for name in names if name not in failed.reasons]
        content = {"rows": ran, "failed": failed.reasons, "suggestion": asdict(suggestion), "notes": notes}
        typer.echo(json.dumps({**content, **found.to_dict()}, indent=1))
    else:
        print_horizon(console, found, suggestion, notes)
    if asked.plot is not None:
        _draw(asked.plot, found)
    if asked.schedule_out is not None:
        if not suggestion.conclusive:
            raise ValueError(f"--schedule-out: nothing was written. {suggestion.reasons[0]}")
        schedule = _schedule(suggestion, model.config, ratios)
        schedule.save(asked.schedule_out)
        if not asked.as_json:
            console.print(str(schedule), markup=False, soft_wrap=True)
    if not asked.as_json:
        for path in (asked.plot, asked.schedule_out):
            if path is not None:
                console.print(f"Written to {path}", markup=False, soft_wrap=True)
    return not failed.reasons


def _listed(asked: HorizonOptions) -> list[ClipQuestion]:
    """Clips from the command line, each with every question, or lines of a file."""
    if asked.clips is not None:
        return read_clips(asked.clips, asked.questions[0])
    found = [
        ClipQuestion(f"{clip.stem}: {question}" if len(asked.questions) > 1 else clip.stem, clip, question)
        for clip in asked.clip or (bundled_clip(),)
        for question in asked.questions
    ]
    # Clips of one name are told apart by their places.
    names = [clip.name for clip in found]
    twice = {name for name in names if names.count(name) > 1}
    return [
        ClipQuestion(f"{clip.name} ({clip.video})" if clip.name in twice else clip.name, clip.video, clip.question)
        for clip in found
    ]


def _prompt(clip: ClipQuestion, asked: HorizonOptions, config: Any) -> Callable[[], dict[str, Any]]:
    """Decoded when it is its turn, and not held longer."""
    return lambda: clip_inputs(clip, asked.run, config)[1]


def _ratios(asked: HorizonOptions, config: Any) -> dict[str, float | None]:
    """Retention by modality. Raises ValueError: ratios that no schedule of this model can have."""
    if asked.schedule_out is None:
        return {}
    video, audio = paper_ratios(config, 0.1)
    given = {
        "video": video if asked.video is None else asked.video,
        "audio": audio if asked.audio is None else asked.audio,
    }
    _schedule(Suggestion(None, (), (), ()), config, given)
    return given


def _schedule(suggestion: Suggestion, config: Any, ratios: dict[str, float | None]) -> Schedule:
    try:
        return suggestion.schedule(config, **ratios)
    except ValueError as error:
        raise ValueError(f"--schedule-out: {error}") from error


def _draw(path: Path, found: Horizon) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), dpi=120, facecolor="white", layout="constrained")
    lost, chosen = figure.subplots(1, 2)
    found.plot(lost, ways=[way for way in found.ways if way not in (RELEVANCE, SHUFFLED)])
    lost.set_title("What answers lose without media", loc="left", fontsize=10)
    if any(found.layers):
        found.plot(chosen, ways=[RELEVANCE, SHUFFLED], metric="kl")
        chosen.set_title("Does relevance pick the tokens?", loc="left", fontsize=10)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    write_whole(path, drawn.getvalue())
