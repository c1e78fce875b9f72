"""Settings of a process around a call: the kernels answer what they answer without them."""

from __future__ import annotations

import pytest
import torch

from seats_ops import functional
from tests.ambient.calls import CALLS, answer
from tests.ambient.modes import MODES, Mode

# One of every primitive; the interpreter takes its time.
NAMES = [next(name for name in CALLS if name.startswith(primitive)) for primitive in functional.__all__]


@pytest.mark.parametrize("name", NAMES)
def test_ambient_state_changes_nothing(name: str) -> None:
    expected = answer(name)
    for mode in MODES.values():
        changed: Mode = mode
        with changed():
            got = answer(name)
        assert [(x.dtype, x.device) for x in got] == [(x.dtype, x.device) for x in expected]
        assert all(torch.equal(x, y) for x, y in zip(got, expected, strict=True))
