"""From a file of results to arrays: what every contender answered, by model, task and item."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.contenders import RANDOM, RANDOM_DRAWS
from benchmarks.quality.gates import LEAST_RIGHT
from benchmarks.quality.ledger import FOUND, RIGHT, SAME, read_revision, read_rows
from benchmarks.quality.run import FULL_KEY

FULL = "full"


@dataclass(frozen=True)
class Cost:
    """At which a contender was asked."""

    axis: str
    retention: float

    def key(self, name: str) -> str:
        return FULL_KEY if name == FULL else f"{name}|{self.axis}|{self.retention:g}"


@dataclass(frozen=True)
class Answers:
    """Of one contender to a task's items, on one model; C chunks of n items.

    Attributes:
        chunks: their numbers.
        right, same: bool [C, n], the answer is right, and is that of the full model.
        found: int [C, n], objects and tones in question of which a token is there where it is needed.
        kl, mass, seen: [C] means over a chunk, see `examine.Cell`.
    """

    chunks: tuple[int, ...]
    right: NDArray[np.bool_]
    same: NDArray[np.bool_]
    found: NDArray[np.int64]
    kl: NDArray[np.float64]
    mass: NDArray[np.float64]
    seen: NDArray[np.float64]


class Results:
    """A file of results."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError: the file is none of results, or holds none."""
        self.path, self.revision = path, read_revision(path)
        self._cells: dict[tuple[str, str, str], dict[int, tuple[Any, ...]]] = {}
        for row in read_rows(path):
            for key, cell in row["cells"].items():
                self._cells.setdefault((row["model"], row["task"], key), {})[row["chunk"]] = tuple(cell)
        self.models = tuple(sorted({model for model, _, _ in self._cells}))
        self.tasks = tuple(dict.fromkeys(task for _, task, _ in self._cells))
        self._asked = dict.fromkeys((task, key) for _, task, key in self._cells)
        if not self.models:
            raise ValueError(f"{path}: expected results, got none; python -m benchmarks quality evaluate")
        self.prompts = sum(len(one[0]) for cells in self._cells.values() for one in cells.values() if len(one) > 1)
        """Answered, those of the full models among them."""
        self._answers = functools.cache(self._decoded)
        self.unpublished = {
            (model, task): share
            for model in self.models
            for task in self.tasks
            if (share := self._full_share(model, task)) is not None and share < LEAST_RIGHT
        }
        """Share of right answers of the full model, by model and task, where it is too low to say anything."""

    def _full_share(self, model: str, task: str) -> float | None:
        chunks = self.chunks(model, task, FULL_KEY)
        return float(self._answers(model, task, FULL_KEY, chunks).right.mean()) if chunks else None

    def chunks(self, model: str, task: str, key: str) -> tuple[int, ...]:
        """That were answered; none where the contender cannot reach the cost, or was not asked."""
        cells = self._cells.get((model, task, key), {})
        return tuple(sorted(chunk for chunk, cell in cells.items() if len(cell) > 1))

    def _decoded(self, model: str, task: str, key: str, chunks: tuple[int, ...]) -> Answers:
        cells = self._cells[model, task, key]
        digits = "".join(f"0{digit}" for chunk in chunks for digit in cells[chunk][0])
        code = np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(len(chunks), -1).astype(np.int64)
        kl, mass, seen = np.array([cells[chunk][1:] for chunk in chunks], dtype=np.float64).T
        return Answers(chunks, (code & RIGHT) > 0, (code & SAME) > 0, code // FOUND, kl, mass, seen)

    def names(self, cost: Cost, task: str | None = None) -> list[str]:
        """Contenders at a cost in the order of the file, those that cannot reach it among them; draws as RANDOM."""
        found: dict[str, None] = {}
        for key in dict.fromkeys(key for of, key in self._asked if task in (None, of)):
            name, axis, retention = key.split("|")
            if (axis, retention) == (cost.axis, f"{cost.retention:g}"):
                found[RANDOM if name in RANDOM_DRAWS else name] = None
        return list(found)

    def draws(self, task: str, name: str, cost: Cost) -> list[str]:
        """Keys of a contender on a task: several for RANDOM."""
        if name != RANDOM:
            return [cost.key(name)]
        return [key for draw in RANDOM_DRAWS if (task, (key := cost.key(draw))) in self._asked]

    def published(self, task: str) -> list[str]:
        """Models whose full accuracy on a task allows a result."""
        return [model for model in self.models if (model, task) not in self.unpublished]

    def together(self, task: str, *asked: tuple[str, Cost]) -> dict[str, list[list[Answers]]]:
        """By model, the answers of every draw of each contender, on the chunks that all of them answered.

        Models on which one of them cannot reach its cost, or whose full accuracy is too low, are left out.
        """
        found = {}
        for model in self.published(task):
            keys = [self.draws(task, name, cost) for name, cost in asked]
            sets = [set(self.chunks(model, task, key)) for several in keys for key in several]
            chunks = tuple(sorted(set.intersection(*sets))) if sets and all(keys) else ()
            if chunks:
                found[model] = [[self._answers(model, task, key, chunks) for key in several] for several in keys]
        return found

    def reason(self, task: str, name: str, cost: Cost) -> str:
        """Why a contender cannot reach a cost, on the first model on which it cannot; "" where it can on all."""
        for model in self.models:
            for key in self.draws(task, name, cost):
                for cell in self._cells.get((model, task, key), {}).values():
                    if len(cell) == 1:
                        return str(cell[0])
        return ""
