"""How far a demo is, where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from seats_ops.cli import screen


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = [0.0], io.StringIO()
    monkeypatch.setattr(screen.time, "monotonic", lambda: clock[0])
    with screen.progress_of(Console(file=written, width=100), 6) as step:
        for number in range(6):
            step(f"[step] {number}")
            clock[0] += 12.0
    assert written.getvalue() == "3 of 6 steps done; [step] 3\n"


def test_a_short_demo_leaves_nothing_in_a_log() -> None:
    written = io.StringIO()
    with screen.progress_of(Console(file=written, width=100), 2) as step:
        step("one")
        step("two")
    assert written.getvalue() == ""
