"""Contenders at equal cost, also where whole tokens of short prompts do not allow it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.quality.contenders import Contender
from benchmarks.quality.prompts import QUESTION_TOKENS, media_ids
from benchmarks.quality.scenes import Scene
from benchmarks.quality.thinker import GRIDS_PER_WINDOW, SIDE, SOUND, WINDOW_TOKENS
from seats_ops import Modality, Schedule
from seats_ops.cost import PromptLengths
from seats_ops.layout import MediaShape
from seats_ops.methods import AtCost, at_equal_cost
from seats_ops.methods.equal_cost import target_cost

AWAY = tuple(step / 50 for step in range(1, 21))
"""How far from a target neighbours are looked for, as shares of it; two solutions 2 % wide lie side by side."""
NEAREST = "at the nearest"
"""In the reason of a method that costs less at one ratio and more at the next."""


@dataclass(frozen=True)
class Choice:
    """A schedule of a contender.

    Attributes:
        schedule: with everything that is changed in it.
        ratio: of the contender that gives it.
        cost: on the axis, a share of the whole prompt's.
        layer_average, flops, kv: shares of the whole prompt's.
    """

    schedule: Schedule
    ratio: float
    cost: float
    layer_average: float
    flops: float
    kv: float


@dataclass(frozen=True)
class Entry:
    """A contender at a cost.

    Attributes:
        contender: who.
        axis, retention: see `at_equal_cost`.
        choices: one that costs so; or two, one below and one above, that cost so on average over chunks of items; none
            where it cannot.
        share: of the second choice.
        reason: why it cannot, "" if it can.
    """

    contender: Contender
    axis: str
    retention: float
    choices: tuple[Choice, ...]
    share: float = 0.0
    reason: str = ""

    @property
    def key(self) -> str:
        return f"{self.contender.name}|{self.axis}|{self.retention:g}"

    def choice(self, chunk: int) -> Choice:
        """The one for a chunk of items, spread evenly: of n chunks in a row the second has its share, to a chunk."""
        second = int((chunk + 1) * self.share + 1e-9) > int(chunk * self.share + 1e-9)
        return self.choices[-1] if second else self.choices[0]


def lengths_of(scene: Scene) -> PromptLengths:
    """Of every prompt about such a clip; they do not depend on what is shown."""
    windows = scene.windows
    video, audio = (WINDOW_TOKENS,) * windows, (SOUND,) * windows
    shapes = (
        MediaShape(Modality.VIDEO, GRIDS_PER_WINDOW * windows, SIDE, SIDE),
        MediaShape(Modality.AUDIO, SOUND * windows),
    )
    text = len(media_ids(windows)) - sum(video) - sum(audio) + QUESTION_TOKENS
    return PromptLengths(text, video, audio, windows=tuple(zip(video, audio, strict=True)), shapes=shapes)


def enter(chosen: Iterable[Contender], config: Any, lengths: PromptLengths, axis: str, retention: float) -> list[Entry]:
    """Each at the same cost, within 2 % of it."""
    target = target_cost(retention, config, lengths, axis)
    # Many are one method with something changed in its schedule afterwards.
    solved: dict[tuple[str, str], list[AtCost]] = {}
    entries = []
    for one in chosen:
        supplied = one.method.protocol.supplied
        if supplied != "-":
            entries.append(Entry(one, axis, retention, (), reason=f"needs {supplied}, which no thinker gives"))
            continue
        key = one.method.name, repr(one.options)
        if key not in solved:
            solved[key] = _solutions(one, config, lengths, axis, retention)
        if solved[key][0].schedule is None:
            entries.append(Entry(one, axis, retention, (), reason=solved[key][0].reason))
            continue
        choices = tuple(_choice(one, found, axis) for found in solved[key])
        low, high = choices[0].cost, choices[-1].cost
        share = (target - low) / (high - low) if len(choices) > 1 else 0.0
        entries.append(Entry(one, axis, retention, choices, share))
    return entries


def _solutions(one: Contender, config: Any, lengths: PromptLengths, axis: str, retention: float) -> list[AtCost]:
    """One at the cost, or the nearest two around it, or one that says why there are none."""

    def at(target: float) -> AtCost:
        options = {one.method.name: one.options}
        [found] = at_equal_cost([one.method], config, lengths, retention=target, axis=axis, options=options)
        return found

    def first(targets: Iterable[float]) -> AtCost | None:
        return next((found for target in targets if (found := at(target)).schedule is not None), None)

    exact = at(retention)
    if exact.schedule is not None or NEAREST not in exact.reason:
        return [exact]
    below = first(retention * (1 - away) for away in AWAY)
    above = first(retention * (1 + away) for away in AWAY if retention * (1 + away) <= 1)
    return [exact] if below is None or above is None else [below, above]


def _choice(one: Contender, found: AtCost, axis: str) -> Choice:
    assert found.schedule and found.ratio is not None and found.retained and found.cost
    shares = {
        "layer-average": found.retained.layer_average,
        "flops": found.cost.executed_share,
        "kv": found.cost.kv_share,
    }
    return Choice(one.then(found.schedule), found.ratio, shares[axis], *shares.values())
