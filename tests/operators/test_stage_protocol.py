"""A schedule takes what keeps to the protocol of stages, and stores what says how it is read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor

import seats_ops
from seats_ops import (
    Allocator,
    DiversitySelector,
    ModalityDropper,
    RecordedStage,
    Schedule,
    Stage,
    StagePruner,
    TokenLayout,
    WindowBudgetAllocator,
)
from tests.custom_stages import Custom, every_other


def with_inputs(names: Any) -> Custom:
    return type("Custom", (Custom,), {"inputs": names})(every_other)


def with_call(call: Any) -> Custom:
    return type("Custom", (Custom,), {"__call__": call, "inputs": ("features", "saliency")})(every_other)


def test_the_protocols_are_public() -> None:
    assert {"Stage", "Allocator"} <= set(seats_ops.__all__)
    stages = [DiversitySelector(0.5), StagePruner(0.5), ModalityDropper(), RecordedStage(((0,),)), Custom(every_other)]
    assert all(isinstance(stage, Stage) for stage in stages)
    assert isinstance(WindowBudgetAllocator(), Allocator)


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        (("feature",), ValueError),
        (("features", "saliences"), ValueError),
        (("features", "layout"), ValueError),
        (("features", "features"), ValueError),
        (["features"], TypeError),
        ("features", TypeError),
        (None, TypeError),
        ((None,), TypeError),
    ],
)
def test_inputs_that_nobody_has(inputs: Any, error: type[Exception]) -> None:
    for build in (lambda stage: Schedule(stage), lambda stage: Schedule(after_layer={2: [ModalityDropper(), stage]})):
        with pytest.raises(error, match=r"Custom\.inputs: expected .* got"):
            build(with_inputs(inputs))


@pytest.mark.parametrize(
    "call",
    [
        lambda self, layout, *, backend="auto": None,
        lambda self, features, layout, *, backend="auto": None,
        lambda self, features, layout, *, saliency: None,
        lambda self, features, layout, scores, *, saliency=None, backend="auto": None,
    ],
)
def test_stages_that_cannot_be_called(call: Any) -> None:
    with pytest.raises(TypeError, match=r"before_llm: Custom: expected to be called as \(features, layout, saliency="):
        Schedule(with_call(call))
    assert Schedule(with_call(lambda self, *args, **kwargs: None)).before_llm


def test_what_is_no_stage() -> None:
    for value in (Custom, every_other, type("Custom", (Custom,), {"to_dict": None})(every_other)):
        with pytest.raises(TypeError, match="after_layer"):
            Schedule(after_layer={1: [value]})


def test_inputs_follow_the_settings() -> None:
    assert DiversitySelector(0.5).inputs == ("features", "saliency")
    assert DiversitySelector(0.5, weighted=False).inputs == ("features",)


@dataclass(frozen=True)
class Halving(Custom):
    """One that can be read back."""

    choose: Any = every_other
    part: float = 0.5

    def to_dict(self) -> dict[str, Any]:
        return {"part": self.part}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Halving:
        return cls(part=data["part"])


@dataclass(frozen=True)
class Biased(StagePruner):
    """A subclass of ours with a setting more."""

    bias: float = 0.0

    def __call__(self, scores: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        return super().__call__(scores + self.bias, layout, backend=backend)


@dataclass(frozen=True)
class Warm(WindowBudgetAllocator):
    """Likewise."""

    margin: int = 0


MINE = [Halving(part=0.25), Biased(0.5, bias=2.0), StagePruner({"video": 0.5}, allocator=Warm(0.2, margin=3))]


@pytest.mark.parametrize("stage", MINE, ids=lambda stage: type(stage).__name__)
def test_types_of_ones_own(stage: Any) -> None:
    schedule = Schedule(after_layer={1: [stage, ModalityDropper()]})
    stored = json.loads(json.dumps(schedule.to_dict()))
    with pytest.raises(ValueError, match=r"type: expected one of .* got '(Halving|Biased|Warm)'"):
        Schedule.from_dict(stored)
    assert Schedule.from_dict(stored, types=[Halving, Biased, Warm]) == schedule


def test_each_is_stored_as_what_it_is() -> None:
    class Posing(Custom):
        def to_dict(self) -> dict[str, Any]:
            return {"type": "ModalityDropper", "modalities": ["audio"]}

    ours = type("StagePruner", (Custom,), {"__module__": __name__})
    for stage, error, match in (
        (Posing(every_other), ValueError, "Posing.to_dict: expected type 'Posing'"),
        (ours(every_other), ValueError, "StagePruner: expected a class of another name"),
        (type("Custom", (Custom,), {"to_dict": lambda self: None})(every_other), TypeError, "Custom.to_dict"),
        (StagePruner(0.5, allocator=lambda scores, layout, ratio, backend: None), TypeError, "<lambda>: .* to_dict"),
    ):
        with pytest.raises(error, match=match):
            Schedule(after_layer={1: stage}).to_dict()
    assert Schedule(Custom(every_other)).to_dict()["before_llm"] == [{"type": "Custom"}]


@pytest.mark.parametrize(
    ("types", "error"),
    [([Custom], TypeError), ([Halving()], TypeError), ([type("StagePruner", (Halving,), {})], ValueError)],
)
def test_types_that_cannot_be_read(types: list[Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="types: expected classes"):
        Schedule.from_dict(Schedule().to_dict(), types=types)


def test_a_pruner_stored_without_the_type_of_its_allocator() -> None:
    stored = {"type": "StagePruner", "keep_ratio": 0.5, "allocator": {"temperature": 0.3}, "windows": "layout"}
    again = Schedule.from_dict({"before_llm": [], "after_layer": {"1": [stored]}})
    assert again.after_layer[1] == (StagePruner(0.5, allocator=WindowBudgetAllocator(0.3)),)


def test_ratios_by_modality_are_values() -> None:
    ratios = {"video": 0.5, "audio": 0.25}
    stage = StagePruner(ratios)
    assert hash(stage) == hash(StagePruner(dict(reversed(ratios.items())))) and stage.keep_ratio == ratios
    with pytest.raises(TypeError):
        stage.keep_ratio["video"] = 1.0  # type: ignore[index]
