"""Every primitive and operator answers to the last bit what it answers without settings around it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from seats_ops import functional as F
from tests.ambient.calls import CALLS, MASK, answer
from tests.ambient.modes import MODES, Mode

EXPECTED = {name: answer(name) for name in CALLS}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_ambient_state_changes_nothing(mode: Mode, name: str) -> None:
    with mode():
        got = answer(name)
    assert [(x.dtype, x.device) for x in got] == [(x.dtype, x.device) for x in EXPECTED[name]]
    assert all(torch.equal(x, expected) for x, expected in zip(got, EXPECTED[name], strict=True))


def test_calls_leave_random_states_and_settings_alone() -> None:
    def state() -> list[Any]:
        return [
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_float32_matmul_precision(),
            torch.backends.mkldnn.matmul.fp32_precision,
            torch.backends.cuda.matmul.fp32_precision,
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
        ]

    before = state()
    for name in CALLS:
        answer(name)
    assert state() == before


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_gradient_of_compact(mode: Mode) -> None:
    x = torch.linspace(-1, 1, 420).requires_grad_()
    with mode(), torch.inference_mode(False), torch.enable_grad():
        (kept,) = F.compact(MASK, x)
        (kept * kept).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where(MASK, 2 * x.detach(), 0.0))
