"""Which contenders are asked at which costs: the table, its ablations and faults, the curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.quality.contenders import RANDOM_DRAWS, Contender, Layers, contenders
from benchmarks.quality.entries import Entry, enter, lengths_of
from benchmarks.quality.scenes import Scene
from benchmarks.quality.tasks import TASKS, Task, curves

RETENTIONS = (0.6, 0.4, 0.2, 0.1)
"""Of layer averages; blocks of 10 and 18 tokens allow nothing smaller."""
CLOSE = (0.2, 0.1)
"""At which ablations and faults are looked at."""
OTHER_AXES = ("flops", "kv")
OTHER_RETENTION = 0.2
ON_CURVES = (RANDOM_DRAWS[0], "uniform", "oracle", "seats-even", "seats-selector", "divprune-om", "omnipack")


@dataclass(frozen=True)
class Extent:
    """How much is asked.

    Attributes:
        name: for people.
        chunks: of 100 items, of every task and model.
        curve_chunks: of the tasks on curves.
        retentions: on the axis of layer averages.
        whole: ablations, faults and the other axes too.
    """

    name: str
    chunks: int
    curve_chunks: int
    retentions: tuple[float, ...] = RETENTIONS
    whole: bool = True


SMOKE = Extent("smoke", chunks=2, curve_chunks=0, retentions=(0.2,), whole=False)
FULL = Extent("full", chunks=20, curve_chunks=5)


def tasks_of(extent: Extent) -> Iterator[tuple[Task, int]]:
    """Every task with its number of chunks."""
    for one in TASKS:
        yield one, extent.chunks
    if extent.curve_chunks:
        for one in curves():
            yield one, extent.curve_chunks


def entries_for(extent: Extent, scene: Scene, on_curve: bool, config: Any, layers: Layers) -> list[Entry]:
    """Of tasks with clips as long as this scene's, those that cannot reach a cost among them."""
    everyone = contenders(layers)
    lengths = lengths_of(scene)
    if on_curve:
        chosen = [one for one in everyone if one.name in ON_CURVES]
        return [entry for r in CLOSE for entry in enter(chosen, config, lengths, "layer-average", r)]
    entries: list[Entry] = []
    for retention in extent.retentions:
        close = extent.whole and retention in CLOSE
        chosen = [one for one in everyone if close or one.role in ("baseline", "method")]
        entries += enter(chosen, config, lengths, "layer-average", retention)
    if extent.whole:
        for axis in OTHER_AXES:
            entries += enter(_without_seeds(everyone), config, lengths, axis, OTHER_RETENTION)
    return entries


def _without_seeds(everyone: Sequence[Contender]) -> list[Contender]:
    """Baselines and methods, random once."""
    return [one for one in everyone if one.role in ("baseline", "method") and one.name not in RANDOM_DRAWS[1:]]
