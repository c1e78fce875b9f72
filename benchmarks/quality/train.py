"""Train a thinker from its seed: towers, then the decoder; interrupted, it goes on where it was."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.quality import checkpoints
from benchmarks.quality.alignment import Tutor, alignment_loss
from benchmarks.quality.lessons import WINDOWS, Lesson, lesson_loss
from benchmarks.quality.replicas import Loss, Replicas
from benchmarks.quality.thinker import Size, new_thinker
from seats_ops.files import write_whole

SAY_EVERY, SAVE_EVERY = 50, 200


@dataclass(frozen=True)
class Recipe:
    """How long and how fast.

    Attributes:
        alignment_steps, steps: of the towers and of the decoder.
        alignment_rate, rate: highest learning rates; both rise at first and fall to a few hundredths at the end.
        mastered: mean share of right answers, over kinds, from which on clips get longer.
    """

    alignment_steps: int = 500
    steps: int = 3600
    alignment_rate: float = 3e-3
    rate: float = 2e-3
    mastered: float = 0.9


Say = Callable[[dict[str, Any]], None]


class Course:
    """Steps of one kind, with numbers smoothed and everything in one file that can be gone on from."""

    def __init__(self, replicas: Replicas[Any], path: Path, said: dict[str, Any], say: Say) -> None:
        self.replicas, self.path, self.said, self.say = replicas, path, said, say
        self.step, self.level, self.since = 0, 0, 0
        self.smooth: dict[str, float] = {}
        self.seconds = 0.0
        if path.exists():
            saved = torch.load(path, weights_only=True)
            if saved["said"] != said:
                raise ValueError(f"{path}: a training of other settings, {saved['said']}, here {said}; remove the file")
            replicas.load(saved["replicas"])
            self.step, self.level, self.since = saved["step"], saved["level"], saved["since"]
            self.smooth, self.seconds = saved["smooth"], saved["seconds"]

    def one(self, loss: Loss[Any], rate: float) -> None:
        began = time.perf_counter()
        numbers = self.replicas.step(loss, rate)
        for name, value in numbers.items():
            before = self.smooth.get(name, float(value))
            self.smooth[name] = 0.95 * before + 0.05 * float(value)
        self.step += 1
        self.since += 1
        self.seconds += time.perf_counter() - began
        if self.step % SAY_EVERY == 0:
            self.tell()
        if self.step % SAVE_EVERY == 0:
            self.save()

    def tell(self, **more: Any) -> None:
        numbers = {name.lower(): round(value, 4) for name, value in self.smooth.items()}
        self.say({"part": self.said["part"], "step": self.step, "seconds": round(self.seconds, 1), **more, **numbers})

    def next_level(self) -> None:
        self.level, self.since, self.smooth = self.level + 1, 0, {}

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "said": self.said,
            "replicas": self.replicas.state(),
            "step": self.step,
            "level": self.level,
            "since": self.since,
            "smooth": self.smooth,
            "seconds": self.seconds,
        }
        written = io.BytesIO()
        torch.save(state, written)
        write_whole(self.path, written.getvalue())


def train(size: Size, seed: int, recipe: Recipe, folder: Path, progress: Callable[[str, float], None]) -> Path:
    """The trained thinker's file in `folder`, with its log beside it.

    What is under way lies in `folder/unfinished` and is gone on from; the outcome is the same as without interruption.

    Raises:
        ValueError: what is under way was begun with other settings.
    """
    name = checkpoints.name_of(size, seed)
    log, unfinished = folder / f"{name}.jsonl", folder / "unfinished"
    folder.mkdir(parents=True, exist_ok=True)

    def say(row: dict[str, Any]) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    model = new_thinker(size, seed)
    settings = {"model": name, **asdict(recipe)}
    if not log.exists():
        say(settings)
    _align(model, seed, recipe, unfinished / f"{name}-towers.pt", settings, say, progress)
    _teach(model, size, seed, recipe, unfinished / f"{name}-decoder.pt", settings, say, progress)
    path = folder / f"{name}.safetensors"
    checkpoints.save(path, model, size, seed)
    for left in (f"{name}-towers.pt", f"{name}-decoder.pt"):
        (unfinished / left).unlink()
    return path


def _align(
    model: Any, seed: int, recipe: Recipe, path: Path, settings: dict[str, Any], say: Say, progress: Any
) -> None:
    """Towers and token embeddings."""
    torch.manual_seed(seed)
    tutor = Tutor(model)
    tutor.requires_grad_(False)
    for part in (model.model.visual, model.model.audio_tower, model.model.language_model.embed_tokens, tutor.where):
        part.requires_grad_(True)
    course = Course(Replicas(tutor, recipe.alignment_rate, seed), path, {**settings, "part": "towers"}, say)
    loss = partial(alignment_loss, clips=12)
    while course.step < recipe.alignment_steps:
        done = course.step / recipe.alignment_steps
        course.one(loss, recipe.alignment_rate * min(1, (course.step + 1) / 20) * max(0.03, min(1, 2 * (1 - done))))
        progress("towers", done)
    course.save()
    course.replicas.close()
    model.requires_grad_(True)


def _teach(
    model: Any, size: Size, seed: int, recipe: Recipe, path: Path, settings: dict[str, Any], say: Say, progress: Any
) -> None:
    """The decoder, with towers as they are."""
    for part in (model.model.visual, model.model.audio_tower):
        part.requires_grad_(False)
    course = Course(Replicas(model, recipe.rate, seed + 1), path, {**settings, "part": "decoder"}, say)
    while course.step < recipe.steps:
        left = 1 - course.step / recipe.steps
        rate = recipe.rate * min(1, (course.step + 1) / 50) * min(1, max(0.02, left / 0.35))
        lesson = Lesson(WINDOWS[course.level])
        course.one(partial(lesson_loss, lesson=lesson, taught_layer=size.taught_layer), rate)
        progress(f"decoder, {lesson.windows} windows", 1 - left)
        if course.level + 1 < len(WINDOWS) and course.since > 60 and _mean_right(course) > recipe.mastered:
            course.tell(mastered=lesson.windows)
            course.next_level()
    course.save()
    course.replicas.close()
    model.requires_grad_(True)


def _mean_right(course: Course) -> float:
    right = [value for name, value in course.smooth.items() if name != "loss"]
    return sum(right) / len(right)
