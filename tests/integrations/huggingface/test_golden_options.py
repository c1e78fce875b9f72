"""Settings that most golden inputs cannot tell apart: how windows are found, and their temperature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.golden_case import FAMILIES, GoldenCase
from tests.integrations.huggingface.models import golden_thinker


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(golden_dir: Path, family: str) -> nn.Module:
    return golden_thinker(golden_dir, "sdpa", family)


def unlike(golden_dir: Path, model: nn.Module, family: str, **options: Any) -> set[int]:
    """The inputs for which another setting keeps other tokens than the authors' implementation."""
    found = set()
    for number in range(4):
        case = GoldenCase.load(golden_dir, number, family)
        with attach(model, case.schedule(model.config, **options)) as trace:
            probes.generate(model, case.inputs, 1)
        kept = [stage.kept_indices[0].tolist() for stage in trace.stages]
        if kept != [columns.tolist() for _, columns in case.kept]:
            found.add(number)
    return found


def test_windows_of_the_original_prompt_differ_where_a_run_was_emptied(
    golden_dir: Path, model: nn.Module, family: str
) -> None:
    """Stage I empties a run of one input; without its neighbours' merging that window stays one of its own."""
    emptied = {"qwen2_5": set(), "qwen3": {2}}[family]
    assert unlike(golden_dir, model, family, windows="layout") == emptied
    for number in range(4):
        case = GoldenCase.load(golden_dir, number, family)
        layer = case.params["drop_layers_1_based"][0]
        sizes = [case.numbers[f"seats.after_layer_{layer}_{kind}_sizes"] for kind in ("video", "audio")]
        with attach(model, case.schedule(model.config, windows="layout")) as trace:
            probes.generate(model, case.inputs, 1)
        assert (trace.stages[1].budgets.shape[0] > len(sizes[0])) == (number in emptied)


def test_the_temperature_is_that_of_the_family(golden_dir: Path, model: nn.Module, family: str) -> None:
    temperatures = {"qwen2_5": 0.1, "qwen3": 0.3}
    (other,) = set(temperatures.values()) - {temperatures[family]}
    assert unlike(golden_dir, model, family, temperature=temperatures[family]) == set()
    assert unlike(golden_dir, model, family, temperature=other)
