"""What must hold before any method is scored, and the layers at which all of them act, from validation items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import is_tensor

from benchmarks.quality.checkpoints import Trained
from benchmarks.quality.contenders import Layers
from benchmarks.quality.examine import Examiner, questions_of
from benchmarks.quality.planted import Knowing
from benchmarks.quality.prompts import model_inputs
from benchmarks.quality.tasks import TASKS, Task
from benchmarks.quality.thinker import family_for
from benchmarks.quality.vocabulary import Question
from seats_ops import ModalityDropper, Schedule
from seats_ops.horizon import Horizon, Suggestion, measure_horizon

VALIDATION = 1_000_000
"""The first chunk of validation items; tests have lower numbers."""
LEAST_RIGHT = 0.95
SMALLEST = 0.1
SIGNIFICANT = 0.05
MODALITIES_NEEDED = {
    Question.COLOUR_OF: ("video",),
    Question.TIMBRE_OF: ("audio",),
    Question.SEEN_WITH: ("video", "audio"),
    Question.HEARD_WITH: ("video", "audio"),
    Question.SEEN_NEXT: ("video",),
    Question.GIST_OF: ("video",),
    Question.SHARE_OF: ("video",),
}


@dataclass(frozen=True)
class Gate:
    """A condition on a model.

    Attributes:
        name: what is asked of it.
        task: on which.
        right, items: answers that are right, and all.
        bound: what the share of right answers must reach, or (at most) not exceed.
        at_most: which of them.
        passed: whether it holds; chance is exceeded where an exact binomial test says so at 5 % over all such gates.
    """

    name: str
    task: str
    right: int
    items: int
    bound: float
    at_most: bool
    passed: bool


def horizon_of(trained: Trained, items: int, progress: Callable[[float], None]) -> Horizon:
    """Up to which layer the answers to all tasks need media, on validation items, `items` of each task."""
    family, labels = family_for(trained.model), [one.name for one in TASKS for _ in range(items)]
    asked = [model_inputs(*questions_of(one, VALIDATION, items)) for one in TASKS]
    together = {name: torch.cat([one[name] for one in asked]) for name, value in asked[0].items() if is_tensor(value)}
    pixels = together.pop("pixel_values_videos")
    with torch.no_grad():
        encoded = trained.model.get_video_features(pixels, together["video_grid_thw"])
    given = {**together, "use_audio_in_video": True, "mm_encoder_outputs": {"video": encoded}}
    return measure_horizon(
        trained.model, [given], labels=labels, family=family, progress=lambda _batch, done, _text: progress(done)
    )


def gates_of(trained: Trained, layers: Layers, items: int, progress: Callable[[int, int], None]) -> list[Gate]:
    """All of them, on validation items that chose no layer."""
    examiner = Examiner(trained, layers.late - 1)
    said: list[tuple[str, str, int, int, float, bool]] = []
    for number, one in enumerate(TASKS):
        progress(number, len(TASKS))
        batch = examiner.batch(one, VALIDATION + 1, (), items)
        for name, schedule, bound, at_most in _asked(one):
            cell = examiner.full(batch) if schedule is None else examiner.cell(batch, schedule)
            said.append((name, one.name, int(cell.right.sum()), items, bound, at_most))
    tests = sum(at_most for *_, at_most in said)
    return [Gate(*one, passed=_passed(*one[2:], SIGNIFICANT / tests)) for one in said]


def _asked(task: Task) -> Iterator[tuple[str, Schedule | None, float, bool]]:
    yield "full", None, LEAST_RIGHT, False
    needed = MODALITIES_NEEDED[task.kind]
    for modality in needed:
        chance = _chance(task, modality)
        yield f"without {modality}", Schedule(ModalityDropper((modality,))), chance, True
    if task.kind not in (Question.GIST_OF, Question.SHARE_OF):
        yield "oracle", Schedule(Knowing(SMALLEST, needles_kept=True)), LEAST_RIGHT, False
        yield "anti-oracle", Schedule(Knowing(SMALLEST, needles_kept=False)), _chance(task, None), True


def _chance(task: Task, without: str | None) -> float:
    """Of a guess among all answers, or among those that are shown or heard where that modality is left."""
    scene, among = task.scene, task.kind.chance
    if task.kind is Question.SEEN_WITH and without != "video":
        among = max(among, 1 / scene.num_objects)
    if task.kind is Question.HEARD_WITH and without != "audio":
        among = max(among, 1 / len(scene.played))
    return among


def _passed(right: int, items: int, bound: float, at_most: bool, significant: float) -> bool:
    if at_most:
        return bool(binomtest(right, items, bound, alternative="greater").pvalue >= significant)
    return right >= bound * items


def layers_of(found: Suggestion) -> Layers:
    """For all methods; without layers after which relevance helps, those just before the late drop.

    Raises:
        ValueError: no late layer is suggested.
    """
    if found.late_layer is None:
        raise ValueError(f"late layer: none is suggested; {' '.join(found.reasons)}")
    drops = found.drop_layers or tuple(range(max(1, found.late_layer - 3), found.late_layer - 1))
    return Layers(drops, found.late_layer)
