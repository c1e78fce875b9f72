"""A default device that is not the CPU changes nothing, for models on it and for models elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.ambient.modes import ELSEWHERE
from tests.ambient.test_families import answer, family_case

ROOT = Path(__file__).parents[2]


def test_models_on_the_default_device() -> None:
    """On the CPU, in a process of its own: registering a device cannot be undone."""
    path = Path(__file__).with_name("on_default_device.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(path)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-8000:]


# The other models make tensors of their own on the default device.
@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_vl_moe"])
def test_models_on_another_device(family: str) -> None:
    model, inputs, schedule, (logits, kept) = family_case(family)
    with ELSEWHERE["default_device"]():
        got = answer(model, inputs, schedule)
    assert got[1] == kept
    assert torch.equal(got[0], logits)
