"""Settings of a process around a call: the kernels answer what they answer without them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from tests.ambient.calls import CALLS
from tests.ambient.modes import MODES, Mode

# One of every primitive; the interpreter takes its time.
NAMES = [
    next(name for name in CALLS if name.startswith(primitive))
    for primitive in (
        "attention_received",
        "max_min_diversity",
        "query_relevance",
        "window_budget",
        "segment_topk",
        "compact",
    )
]


def answer(name: str) -> list[Any]:
    function, arguments = CALLS[name]
    return tree_leaves(function(*arguments))


@pytest.mark.parametrize("name", NAMES)
def test_ambient_state_changes_nothing(name: str) -> None:
    expected = answer(name)
    for mode in MODES.values():
        changed: Mode = mode
        with changed():
            got = answer(name)
        assert [(x.dtype, x.device) for x in got] == [(x.dtype, x.device) for x in expected]
        assert all(torch.equal(x, y) for x, y in zip(got, expected, strict=True))
