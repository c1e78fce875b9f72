"""Answer all questions: every chunk of items by all contenders, on all cores; interrupted, nothing is lost."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.quality import checkpoints
from benchmarks.quality.contenders import Layers
from benchmarks.quality.entries import Entry
from benchmarks.quality.examine import BATCH, Cell, Examiner
from benchmarks.quality.ledger import FOUND, RIGHT, SAME, Ledger
from benchmarks.quality.plan import Extent, entries_for, tasks_of
from benchmarks.quality.scenes import Scene
from benchmarks.quality.tasks import TASKS, task

FULL_KEY = "full||1"
"""The cell of the model without pruning."""


@dataclass(frozen=True)
class Work:
    """A chunk that is to be answered, without the cells that are there already."""

    path: Path
    layers: Layers
    extent: Extent
    task: str
    chunk: int
    done: frozenset[str]


def evaluate(
    models: Mapping[Path, Layers],
    ledger: Ledger,
    extent: Extent,
    progress: Callable[[int, int], None],
    workers: int | None = None,
) -> None:
    """Adds to the ledger what it lacks; `progress` is told of chunks done and of all."""
    todo = list(_work(models, ledger, extent))
    with ProcessPoolExecutor(
        workers or os.cpu_count() or 1, multiprocessing.get_context("spawn"), initializer=_one_thread
    ) as pool:
        jobs = {pool.submit(answer, one): one for one in todo}
        try:
            for number, job in enumerate(as_completed(jobs), start=1):
                one = jobs[job]
                ledger.add(one.path.stem, one.task, one.chunk, job.result())
                progress(number, len(todo))
        except BaseException:
            # Leaving the pool waits for everything that is queued.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _work(models: Mapping[Path, Layers], ledger: Ledger, extent: Extent) -> Iterator[Work]:
    """Chunk by chunk over all tasks and models, so that what is there early is even."""
    done = ledger.done()
    tasks = list(tasks_of(extent))
    for chunk in range(max(count for _, count in tasks)):
        for path, layers in models.items():
            for one, count in tasks:
                there = frozenset(done.get((path.stem, one.name, chunk), ()))
                if chunk < count and not (FULL_KEY in there and _complete(there, extent, one.name, path, layers)):
                    yield Work(path, layers, extent, one.name, chunk, there)


def _complete(there: frozenset[str], extent: Extent, name: str, path: Path, layers: Layers) -> bool:
    return all(entry.key in there for entry in _entries(path, layers, extent, name))


def _one_thread() -> None:
    # A worker that is interrupted takes the next chunk; it has to end with the command.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)


@functools.cache
def _trained(path: Path) -> checkpoints.Trained:
    return checkpoints.load(path)


def _entries(path: Path, layers: Layers, extent: Extent, name: str) -> Sequence[Entry]:
    one = task(name)
    return _entries_of_length(path, layers, extent, one.scene.windows, one not in TASKS)


@functools.cache
def _entries_of_length(path: Path, layers: Layers, extent: Extent, windows: int, on_curve: bool) -> Sequence[Entry]:
    return entries_for(extent, Scene(windows), on_curve, _trained(path).model.config, layers)


def answer(work: Work) -> dict[str, list[Any]]:
    """Cells by key: outcomes of the items, mean KL, mean share of attention, mean share of tokens that layers saw.

    What cannot reach its cost has its reason instead.
    """
    entries = [one for one in _entries(work.path, work.layers, work.extent, work.task) if one.key not in work.done]
    examiner = Examiner(_trained(work.path), work.layers.late - 1)
    batch = examiner.batch(task(work.task), work.chunk, entries, BATCH)
    cells: dict[str, list[Any]] = {}
    if FULL_KEY not in work.done:
        cells[FULL_KEY] = _row(examiner.full(batch))
    for entry in entries:
        if entry.choices:
            schedule = entry.choice(work.chunk).schedule
            cells[entry.key] = _row(examiner.cell(batch, schedule, **entry.contender.attach))
        else:
            cells[entry.key] = [entry.reason]
    return cells


def _row(cell: Cell) -> list[Any]:
    code = RIGHT * cell.right.long() + SAME * cell.same.long() + FOUND * cell.found
    outcomes = "".join(f"{one:x}" for one in code.tolist())
    return [outcomes, *(round(float(part.mean()), 4) for part in (cell.kl, cell.mass, cell.seen))]
