"""What each task isolates, and the curves over backgrounds, distractors and lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.quality.scenes import Scene
from benchmarks.quality.vocabulary import Question


@dataclass(frozen=True)
class Task:
    """A kind of clip and a question about it.

    Attributes:
        name: known everywhere by it.
        kind: of the question.
        scene: of the clip.
        claim: what it isolates, and who is expected to win.
    """

    name: str
    kind: Question
    scene: Scene
    claim: str


TASKS = (
    Task(
        "needle-1",
        Question.COLOUR_OF,
        Scene(),
        "an odd token among repetitive ones: random keeps it with probability R",
    ),
    Task("needle-2", Question.COLOUR_OF, Scene(tokens=2), "the same, in two tokens"),
    Task("needle-4", Question.COLOUR_OF, Scene(tokens=4), "the same, in four tokens"),
    Task(
        "menu",
        Question.COLOUR_OF,
        Scene(objects=3),
        "24 objects, all equally distinct: at a small budget only the query can tell which one matters",
    ),
    Task(
        "bind-sound-to-object",
        Question.SEEN_WITH,
        Scene(),
        "relevance finds the sound; the object is in its window: budgets per window should help",
    ),
    Task(
        "bind-apart",
        Question.SEEN_WITH,
        Scene(apart=True),
        "the control: the object is one window before the sound, so that budgets per window should not help",
    ),
    Task("bind-object-to-sound", Question.HEARD_WITH, Scene(), "the other way round"),
    Task("order", Question.SEEN_NEXT, Scene(), "two objects are needed, and which came first"),
    Task("decoys", Question.HEARD_WITH, Scene(objects=2), "windows with two objects each, one of which is asked about"),
    Task(
        "sound-only",
        Question.TIMBRE_OF,
        Scene(pictures=False),
        "a picture that stands still: a budget per modality is wasted on it",
    ),
    Task(
        "picture-only", Question.COLOUR_OF, Scene(sounds=False), "noise instead of sound: the same the other way round"
    ),
    Task(
        "sink",
        Question.COLOUR_OF,
        Scene(sinks=True),
        "a fine glyph in a frame with a token that outshines it: attention may look there instead",
    ),
    Task(
        "gist",
        Question.GIST_OF,
        Scene(),
        "a texture of which every token is weak evidence: not expected to be won by SEATS, random tokens are best",
    ),
    Task(
        "coverage",
        Question.SHARE_OF,
        Scene(),
        "the share of marked background: not expected to be won by SEATS: who seeks what is distinct loses the share",
    ),
)
REDUNDANCIES, OBJECTS, WINDOWS = (0.0, 0.5, 0.95), (1, 2, 3), (8, 12, 16, 24)


def task(name: str) -> Task:
    """By name, also one on a curve, e.g. "needle-1/windows=16". ValueError: nobody has the name."""
    for one in (*TASKS, *curves()):
        if one.name == name:
            return one
    raise ValueError(f"task: expected one of {', '.join(one.name for one in TASKS)}, or one on a curve, got {name!r}")


def curves() -> Iterator[Task]:
    """Tasks with one setting of their scene varied; the setting that a task has anyway is the task itself."""
    for name in ("needle-1", "bind-sound-to-object", "gist"):
        yield from _varied(name, redundancy=REDUNDANCIES)
        yield from _varied(name, windows=WINDOWS)
    yield from _varied("needle-1", objects=OBJECTS)


def _varied(name: str, **values: tuple[float, ...]) -> Iterator[Task]:
    [one] = [task for task in TASKS if task.name == name]
    [(setting, options)] = values.items()
    for value in options:
        if value != getattr(one.scene, setting):
            scene = replace(one.scene, **{setting: value})
            yield Task(f"{name}/{setting}={value:g}", one.kind, scene, one.claim)
