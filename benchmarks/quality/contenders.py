"""Who takes part: every published method, baselines, SEATS without this or that, and SEATS with a fault planted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.planted import EarlyScores, Knowing, Renumbered, Shuffled, WrongWindows, tokens_by_row
from seats_ops import DiversitySelector, Ratio, Schedule, Select, StagePruner, TokenLayout, seats
from seats_ops.methods import Method, Protocol, method, methods
from seats_ops.operators.selectors import RandomK
from seats_ops.operators.stage import BUDGETED

Build = Callable[..., Schedule]
RANDOM = "random"
"""Named in tables: the mean over its draws."""
RANDOM_DRAWS = tuple(f"{RANDOM}-{seed}" for seed in range(5))
"""Names of its contenders, by seed."""


@dataclass(frozen=True)
class Layers:
    """Where a model can bear it, chosen once for all on validation clips, see `gates`.

    Attributes:
        drops: after which relevance is asked.
        late: first layer that needs no media.
    """

    drops: tuple[int, ...]
    late: int


@dataclass(frozen=True)
class Contender:
    """One line of a table.

    Attributes:
        name: unique.
        role: "baseline", "method", "ablation" or "fault".
        method: called with (config, ratio, **options).
        options: of the method.
        then: what is changed in its schedule after its ratio was found.
        attach: arguments of `attach`.
    """

    name: str
    role: str
    method: Method
    options: Mapping[str, Any] = field(default_factory=dict)
    then: Callable[[Schedule], Schedule] = lambda schedule: schedule
    attach: Mapping[str, Any] = field(default_factory=dict)


def contenders(layers: Layers) -> list[Contender]:
    """All of them, for a model with these layers."""
    return [*_baselines(), *_published(layers), *_ablations(layers), *_faults(layers)]


def _own(name: str, build: Build) -> Method:
    said = Protocol("share of video and of audio, averaged over all layers", "as SEATS", "as SEATS")
    return Method(name, build, said, "benchmarks/quality/contenders.py")


def _baselines() -> Iterator[Contender]:
    for seed, name in enumerate(RANDOM_DRAWS):
        yield Contender(name, "baseline", method(RANDOM), {"seed": seed})
    yield Contender("uniform", "baseline", method("uniform"))
    yield Contender("pooled", "baseline", _own("pooled", _pooled_frames))
    for name, kept in (("oracle", True), ("anti-oracle", False)):
        yield Contender(
            name, "baseline", _own(name, lambda config, ratio, *, kept=kept: Schedule(Knowing(ratio, kept)))
        )


def _pooled_frames(config: Any, ratio: float) -> Schedule:
    """Frames as means of their cells, and sound thinned evenly: downsampling, as a processor could do it."""
    video = method("pooled")(config, {"video": ratio})
    return Schedule([*video.before_llm, *method("uniform")(config, {"audio": ratio}).before_llm])


def _published(layers: Layers) -> Iterator[Contender]:
    """Those with layers of their own get this model's; the rest is as published."""
    for name, one in methods().items():
        if name in (RANDOM, "uniform", "pooled"):
            continue
        options: dict[str, Any] = {}
        if "drop_layers" in one.options:
            options["drop_layers"] = layers.drops
        if "late_layer" in one.options:
            options["late_layer"] = layers.late
        yield Contender(name, "method", one, options)
    yield Contender(
        "seats-even", "method", _own("seats-even", seats_even), {"drops": layers.drops, "late": layers.late}
    )


def seats_even(
    config: Any,
    ratio: float,
    *,
    drops: tuple[int, ...],
    late: int | None,
    scale: float = 1.4,
    temperature: float | None = None,
) -> Schedule:
    """SEATS with one retention for video and audio, where the paper's pairs give sound more."""
    return seats(
        config,
        video=ratio,
        audio=ratio,
        drop_layers=drops,
        late_layer=late,
        temperature=temperature,
        encoder_ratio_scale=scale,
    )


def _ablations(layers: Layers) -> Iterator[Contender]:
    """SEATS with one thing changed; its stages alone are methods: seats-selector, seats-pruner, seats-dropper."""
    whole = {"drops": layers.drops, "late": layers.late}
    even = _own("seats-even", seats_even)

    def changed(name: str, **options: Any) -> Contender:
        return Contender(f"seats/{name}", "ablation", even, {**whole, **options})

    yield changed("no late drop", late=None)
    if layers.late - 2 > max(layers.drops):
        yield changed("late drop one layer earlier", late=layers.late - 1)
    if min(layers.drops) > 1:
        yield changed("drops one layer earlier", drops=tuple(layer - 1 for layer in layers.drops))
    for scale in (1.0, 1.2, 1.7, 2.0):
        yield changed(f"encoder ratio x {scale}", scale=scale)
    for temperature in (0.01, 0.001, 1.0):
        yield changed(f"temperature {temperature}", temperature=temperature)
    for name, then in (
        ("budgets follow relevance", _changed(StagePruner, allocator=follow_relevance)),
        ("unweighted", _changed(DiversitySelector, weighted=False)),
        ("random entry", _wrapped(DiversitySelector, lambda s: Select(None, Ratio(s.keep_ratio), RandomK(0)))),
    ):
        yield Contender(f"seats/{name}", "ablation", even, whole, then)
    yield Contender("seats/windows by time", "ablation", even, whole, attach={"windows": "time"})
    yield Contender("seats/encoder's segments", "ablation", even, whole, attach={"saliency_segments": "encoder"})


def _faults(layers: Layers) -> Iterator[Contender]:
    whole = {"drops": layers.drops, "late": layers.late}
    even = _own("seats-even", seats_even)
    faults: dict[str, Callable[[Schedule], Schedule]] = {
        "saliency shuffled": _wrapped(DiversitySelector, lambda stage: Shuffled(stage, "saliency")),
        "scores shuffled": _wrapped(StagePruner, lambda stage: Shuffled(stage, "scores")),
        "scores of layer 1": _wrapped(StagePruner, EarlyScores),
        "windows shuffled": _wrapped(StagePruner, WrongWindows),
        "positions renumbered": lambda schedule: Schedule(
            schedule.before_llm, {**schedule.after_layer, 1: (Renumbered(), *schedule.after_layer.get(1, ()))}
        ),
    }
    for name, then in faults.items():
        yield Contender(f"fault/{name}", "fault", even, whole, then)


def _wrapped(kind: type, wrap: Callable[[Any], Any]) -> Callable[[Schedule], Schedule]:
    """Every stage of a kind in the schedule is replaced."""

    def then(schedule: Schedule) -> Schedule:
        def of(stages: Any) -> list[Any]:
            return [wrap(stage) if isinstance(stage, kind) else stage for stage in stages]

        return Schedule(of(schedule.before_llm), {layer: of(stages) for layer, stages in schedule.after_layer.items()})

    return then


def _changed(kind: type, **changes: Any) -> Callable[[Schedule], Schedule]:
    return _wrapped(kind, lambda stage: replace(stage, **changes))


def follow_relevance(
    scores: Tensor, layout: TokenLayout, keep_ratio: float | Mapping[str, float], *, backend: str = "auto"
) -> Tensor:
    """Budgets [W, 2] by which every window keeps what it has among the most relevant tokens of its prompt."""
    window, count = layout.windows()
    budgets = torch.zeros(count, 2, dtype=torch.int64)
    for modality, index in tokens_by_row(layout):
        name = modality.name.lower()
        share = keep_ratio[name] if isinstance(keep_ratio, Mapping) else keep_ratio
        most = index[scores[index].topk(max(1, round(share * len(index)))).indices]
        column = budgets[:, BUDGETED.index(name)]
        column += torch.bincount(window[most], minlength=count)
    return budgets
