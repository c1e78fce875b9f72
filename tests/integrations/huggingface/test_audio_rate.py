"""Sound is counted: blocks and windows are right for one number of tokens a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from seats_ops import DiversitySelector, Schedule, UnsupportedModelState
from seats_ops.integrations import attach, family_of
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.guards.refusals import LATE
from tests.integrations.huggingface.prompts import Audio, Text, build_prompt

# What a config says, tokens a second by that, and how the refusal names it.
RATES: dict[str, tuple[Callable[[Any], Any], float, str]] = {
    "qwen2_5_omni": (lambda config: setattr(config, "position_id_per_seconds", 5), 5.0, "position_id_per_seconds"),
    "qwen3_omni": (lambda config: setattr(config, "position_id_per_seconds", 25), 25.0, "position_id_per_seconds"),
    "phi4_multimodal": (lambda config: setattr(config.audio_config, "time_reduction", 4), 25.0, "time_reduction"),
}


@pytest.mark.parametrize("family", RATES)
def test_another_rate_is_refused(family: str) -> None:
    model = SMALL[family]("sdpa")
    change, rate, named = RATES[family]
    change(model.config)
    footprint = probes.footprint(model)
    with pytest.raises(UnsupportedModelState, match=rf"audio tokens per second.* got {rate:g} by config\..*{named}"):
        attach(model, LATE)
    assert probes.footprint(model) == footprint


def test_a_family_with_the_models_rate_is_taken() -> None:
    model: nn.Module = SMALL["qwen2_5_omni"]("sdpa")
    model.config.position_id_per_seconds = 5
    inputs = build_prompt(model.config, Text(3), Audio(430), Text(3))
    family = dataclasses.replace(family_of(model), audio_rate=5.0, audio_block=10)
    with attach(model, Schedule(before_llm=DiversitySelector(0.3)), family=family) as trace:
        model(**inputs)
    tokens = trace.prompt_counts["audio"]
    kept = [round(0.3 * 10)] * (tokens // 10) + [max(1, round(0.3 * (tokens % 10)))] * (tokens % 10 > 0)
    assert trace.stages[0].counts["audio"] == sum(kept)


@pytest.mark.parametrize("family", SMALL)
def test_published_rates_are_those_of_the_families(family: str) -> None:
    attachment = attach(SMALL[family]("sdpa"), LATE)
    with pytest.warns(RuntimeWarning), attachment:
        pass


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("audio_rate", 0, ValueError),
        ("audio_rate", "25", TypeError),
        ("audio_rate", -1.0, ValueError),
        ("audio_block", 0, ValueError),
        ("audio_block", 2.5, ValueError),
    ],
)
def test_rates_that_are_none(name: str, value: Any, error: type[Exception]) -> None:
    family = family_of(SMALL["qwen2_5_omni"]("sdpa"))
    with pytest.raises(error, match=name):
        dataclasses.replace(family, **{name: value})
