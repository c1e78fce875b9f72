"""Methods decide on another device what they decide on the CPU, and in half precision do not fail."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops.methods import method
from tests.methods.cases import check_device, check_stored, layouts, run_stage, tensors_for

CONFIG = Qwen2_5OmniThinkerConfig()
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("visionzip-om", {}),
    ("visionzip-om", {"variant": "original"}),
    ("vidcom2", {}),
    ("vidcom2", {"variant": "reconciled"}),
    ("cdpruner", {"split_above": 20}),
    ("fastvid", {}),
    ("fastvid", {"release": "llava"}),
    ("holitom", {"context": 0.4}),
]


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_another_device(name: str, options: dict[str, Any]) -> None:
    for _, stage in method(name)(CONFIG, 0.3, **options).stages():
        layout = layouts()["four prompts"]
        check_device(stage, layout, tensors_for(layout, "clustered"))


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_bfloat16(name: str, options: dict[str, Any]) -> None:
    for _, stage in method(name)(CONFIG, 0.3, **options).stages():
        layout = layouts()["everything"]
        tensors = tensors_for(layout, "clustered")
        _, values = run_stage(stage, layout, {**tensors, "features": tensors["features"].bfloat16()})
        assert values.dtype == torch.bfloat16 and bool(values.isfinite().all())


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_a_schedule_is_a_value(name: str, options: dict[str, Any]) -> None:
    check_stored(method(name)(CONFIG, 0.3, **options))
