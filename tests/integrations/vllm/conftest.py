"""A checkpoint, and one engine at a time: tests that share one stand next to each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
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
def one_engine() -> Iterator[Callable[[object, Callable[[], Any]], Any]]:
    """The engine of a name, made if it is not the one that runs; the one before is given back."""
    from tests.integrations.vllm.engines import close

    running: list[tuple[object, Any]] = []

    def start(wanted: object, make: Callable[[], Any]) -> Any:
        if not running or running[0][0] != wanted:
            while running:
                close(running.pop()[1])
            running.append((wanted, make()))
        return running[0][1]

    yield start
    while running:
        close(running.pop()[1])


@pytest.fixture(scope="session")
def started(checkpoint: Path, one_engine: Callable[..., Any]) -> Callable[..., Any]:
    """Engine of Qwen2.5-Omni by the name of its schedule and its options."""
    from tests.integrations.vllm.cases import SCHEDULES
    from tests.integrations.vllm.engines import engine

    def start(schedule: str, **options: Any) -> Any:
        wanted = (schedule, sorted(options.items()))
        return one_engine(wanted, lambda: engine(checkpoint, SCHEDULES[schedule], **options))

    return start


@pytest.fixture(scope="session")
def family_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Of a family by its name, whose class is known to vLLM."""
    from importlib import import_module

    from vllm import ModelRegistry

    from seats_ops.integrations.vllm import ARCHITECTURES as PLACES
    from tests.integrations.vllm.checkpoint_families import ARCHITECTURES, write

    folder = tmp_path_factory.mktemp("families")

    def written(family: str) -> Path:
        path = folder / family
        if not path.exists():
            write(path, family)
            # By class: of a name, as the plugin gives it, vLLM asks a new process, which takes 15 seconds.
            module, name = PLACES[ARCHITECTURES[family]].split(":")
            ModelRegistry.register_model(ARCHITECTURES[family], getattr(import_module(module), name))
        return path

    return written


@pytest.fixture(scope="session")
def started_family(family_checkpoint: Callable[[str], Path], one_engine: Callable[..., Any]) -> Callable[..., Any]:
    """Engine of a family by the name of its schedule and its options."""
    from tests.integrations.vllm.cases_families import SCHEDULES
    from tests.integrations.vllm.checkpoint_families import ARCHITECTURES, sizes
    from tests.integrations.vllm.engines import engine

    def start(family: str, schedule: str, **options: Any) -> Any:
        path = family_checkpoint(family)
        limits = {"video": 2, "image": 2} | ({"audio": 2} if family == "qwen3_omni" else {})
        known = {"limit_mm_per_prompt": limits, "mm_processor_kwargs": {"size": sizes(family)}}
        make = partial(engine, path, SCHEDULES[schedule], ARCHITECTURES[family], **known, **options)
        return one_engine((family, schedule, sorted(options.items())), make)

    return start
