"""Schedule: a normalised, comparable value that survives JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops import (
    DiversitySelector,
    ModalityDropper,
    Schedule,
    StagePruner,
    WindowBudgetAllocator,
    seats,
)


def thinker(num_layers: int) -> Qwen2_5OmniThinkerConfig:
    return Qwen2_5OmniThinkerConfig(text_config={"num_hidden_layers": num_layers})


def stages_for_tests() -> dict[str, Any]:
    return {
        "before_llm": [
            DiversitySelector({"video": 0.3, "audio": 0.7, "image": 0.5}),
            DiversitySelector(0.9, weighted=False),
        ],
        "after_layer": {
            23: [ModalityDropper()],
            16: StagePruner({"video": 0.5, "audio": 1.0}, allocator=WindowBudgetAllocator(0.3), windows="runs"),
            18: [StagePruner(0.25), ModalityDropper(("image",))],
        },
    }


def test_a_schedule_is_stored_normalised() -> None:
    given = stages_for_tests()
    schedule = Schedule(**given)
    assert schedule.before_llm == tuple(given["before_llm"])
    assert list(schedule.after_layer) == [16, 18, 23]
    assert schedule.after_layer[16] == (given["after_layer"][16],)
    assert schedule.after_layer[18] == tuple(given["after_layer"][18])
    single = Schedule(before_llm=DiversitySelector(0.5), after_layer={3: ModalityDropper()})
    assert single == Schedule(before_llm=[DiversitySelector(0.5)], after_layer={3: [ModalityDropper()]})
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.before_llm = ()


def test_equality_sees_every_setting() -> None:
    schedule = Schedule(**stages_for_tests())
    assert schedule == Schedule(**stages_for_tests())
    for change in ({"before_llm": []}, {"after_layer": {}}, {"after_layer": {16: StagePruner(0.5)}}):
        assert schedule != Schedule(**{**stages_for_tests(), **change})
    assert Schedule() == Schedule(before_llm=[], after_layer={})


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(),
        Schedule(**stages_for_tests()),
        seats(thinker(28), video=0.06, audio=0.35),
        seats(thinker(36), video=0.1, audio=0.45, late_layer=None, windows="runs"),
    ],
)
def test_json_round_trip(schedule: Schedule) -> None:
    text = json.dumps(schedule.to_dict())
    again = Schedule.from_dict(json.loads(text))
    assert again == schedule
    assert list(again.after_layer) == list(schedule.after_layer)
    assert json.dumps(again.to_dict()) == text


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("before_llm", {"before_llm": [0.5]}, TypeError),
        ("before_llm", {"before_llm": "DiversitySelector"}, TypeError),
        ("after_layer", {"after_layer": {16: "prune"}}, TypeError),
        ("after_layer", {"after_layer": {16: [WindowBudgetAllocator()]}}, TypeError),
        ("after_layer", {"after_layer": {"16": ModalityDropper()}}, TypeError),
        ("after_layer", {"after_layer": {0: ModalityDropper()}}, ValueError),
        ("after_layer", {"after_layer": {-3: ModalityDropper()}}, ValueError),
        ("after_layer", {"after_layer": [ModalityDropper()]}, TypeError),
    ],
)
def test_bad_schedules_name_the_argument(name: str, arguments: dict, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        Schedule(**arguments)


@pytest.mark.parametrize(
    ("stored", "match"),
    [
        ({"before_llm": [{"type": "NoSuchStage"}], "after_layer": {}}, "NoSuchStage"),
        ({"before_llm": [], "after_layer": {"sixteen": []}}, "sixteen|after_layer"),
        ({"before_llm": [{"keep_ratio": 0.5}], "after_layer": {}}, "type"),
    ],
)
def test_bad_stored_schedules_are_refused(stored: dict, match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        Schedule.from_dict(stored)
