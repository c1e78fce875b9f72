"""Ctrl-C on any line of setting up and cleaning up."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any

import pytest
from torch import nn

import seats_ops.integrations
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.schedules import SCHEDULES

FOLDERS = tuple(
    os.path.dirname(path) for path in (seats_ops.integrations.__file__, os.path.realpath(attach.__code__.co_filename))
)


def interrupted(model: nn.Module, line: int) -> tuple[int, bool]:
    """Enters and leaves a block in which line number `line` of ours that runs raises; lines run, and whether it did."""
    seen, schedule = 0, SCHEDULES["preset"](model.config)

    def on_line(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal seen
        if event == "line":
            seen += 1
            if seen == line:
                sys.settrace(None)
                raise KeyboardInterrupt
        return on_line

    def on_call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return on_line if frame.f_code.co_filename.startswith(FOLDERS) else None

    before = sys.gettrace()
    try:
        sys.settrace(on_call)
        with attach(model, schedule):
            pass
    except KeyboardInterrupt:
        return seen, True
    finally:
        sys.settrace(before)
    return seen, False


@pytest.mark.filterwarnings("ignore:attach. no forward")
def test_an_interrupt_at_any_line_leaves_nothing() -> None:
    model = small_thinker()
    footprint = probes.footprint(model)
    total, _ = interrupted(model, 0)
    assert total > 300
    # Some of many, and all of the last ones, where it is cleaned up.
    for line in (*range(1, total, 17), *range(total - 60, total + 1)):
        assert interrupted(model, line)[1]
        assert probes.footprint(model) == footprint, line
