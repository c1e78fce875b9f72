"""A checkpoint, and one engine at a time: tests that share one stand next to each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.integrations.vllm.checkpoint import write

    return write(tmp_path_factory.mktemp("vllm") / "checkpoint")


@pytest.fixture(scope="session")
def references() -> dict[str, dict[str, Any]]:
    from tests.integrations.vllm.references import PATH

    return json.loads(PATH.read_text())


@pytest.fixture(scope="session")
def started(checkpoint: Path) -> Iterator[Callable[..., Any]]:
    """Engine by the name of its schedule and its options; the one before is given back."""
    from tests.integrations.vllm.cases import SCHEDULES
    from tests.integrations.vllm.engines import close, engine

    running: list[tuple[object, Any]] = []

    def start(schedule: str, **options: Any) -> Any:
        wanted = (schedule, sorted(options.items()))
        if not running or running[0][0] != wanted:
            while running:
                close(running.pop()[1])
            running.append((wanted, engine(checkpoint, SCHEDULES[schedule], **options)))
        return running[0][1]

    yield start
    while running:
        close(running.pop()[1])
