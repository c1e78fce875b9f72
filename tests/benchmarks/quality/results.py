"""Files of results with answers that a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.ledger import FOUND, RIGHT, SAME, Ledger
from benchmarks.quality.run import FULL_KEY

ITEMS = 100
MODELS = ("8x96-seed1", "8x96-taught6-seed0")
REVISION = {"rules": 1, "questions": "made up", "models": {name: "0" for name in MODELS}, "layers": {}}


def cell(right: Sequence[bool], *, found: int = 1, same: Sequence[bool] | None = None, seen: float = 0.2) -> list[Any]:
    """A cell as `run` writes it: right items, `found` needles where one is, a KL of the share of those that are not."""
    same = right if same is None else same
    code = [RIGHT * r + SAME * s + FOUND * found * r for r, s in zip(right, same, strict=True)]
    return ["".join(f"{one:x}" for one in code), 1.0 - sum(right) / len(right), 0.5, seen]


def first(count: int) -> list[bool]:
    """The first items of a chunk are right."""
    return [number < count for number in range(ITEMS)]


def last(count: int) -> list[bool]:
    return first(count)[::-1]


def everything_right() -> list[Any]:
    return cell(first(ITEMS), seen=1.0)


def write(
    path: Path,
    cells: Callable[[str, str, int], dict[str, list[Any]]],
    *,
    tasks: Sequence[str] = ("needle-1", "gist"),
    models: Sequence[str] = MODELS,
    chunks: int = 2,
) -> Path:
    """A ledger in which every chunk of a model and a task has the cells that `cells(model, task, chunk)` gives."""
    ledger = Ledger(path, {**REVISION, "models": {name: "0" for name in models}})
    for chunk in range(chunks):
        for model in models:
            for task in tasks:
                ledger.add(model, task, chunk, {FULL_KEY: everything_right(), **cells(model, task, chunk)})
    return path
