"""A default device that is not the CPU changes nothing, for models on it and for models elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.ambient.modes import ELSEWHERE
from tests.ambient.test_families import answer, family_case
from tests.own_process import assert_passes_alone


def test_models_on_the_default_device() -> None:
    """On the CPU, in a process of its own: registering a device cannot be undone."""
    assert_passes_alone(Path(__file__).with_name("on_default_device.py"))


# The other models make tensors of their own on the default device.
@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_vl_moe"])
def test_models_on_another_device(family: str) -> None:
    model, inputs, schedule, (logits, kept) = family_case(family)
    with ELSEWHERE["default_device"]():
        got = answer(model, inputs, schedule)
    assert got[1] == kept
    assert torch.equal(got[0], logits)
