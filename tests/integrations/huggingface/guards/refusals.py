"""How a refusal has to look: before any token, by name, and without a trace."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import ModalityDropper, Schedule, UnsupportedModelState
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.schedules import SCHEDULES

# What a caller may get where the contract names no class.
REFUSED = (UnsupportedModelState, ValueError, TypeError)
LATE = Schedule(after_layer={3: ModalityDropper()})


def assert_refused(
    model: nn.Module,
    valid: dict[str, Any],
    entry: str,
    arguments: dict[str, Any],
    match: str,
    error: type[Exception] | tuple[type[Exception], ...] = UnsupportedModelState,
) -> None:
    """A call of `entry` ("generate" or "forward") with `arguments` raises inside a context before logits exist.

    The context goes on to work for `valid` inputs, and nothing is left after it.
    """
    untouched = probes.generate(model, valid, 3)
    schedule = SCHEDULES["preset"](model.config)
    with attach(model, schedule):
        expected = probes.generate(model, valid, 3)
    footprint = probes.footprint(model)
    with attach(model, schedule):
        call: Any = functools.partial(model.generate, max_new_tokens=3) if entry == "generate" else model
        with probes.produced_logits(model) as produced, pytest.raises(error, match=match):
            call(**arguments)
        assert produced == []
        probes.assert_same(probes.generate(model, valid, 3), expected)
    assert probes.footprint(model) == footprint
    assert torch.equal(probes.generate(model, valid, 3).logits, untouched.logits)
