"""From seeds to results, each step going on from what is there: train, choose layers and pass gates, answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality import checkpoints, costs, layers
from benchmarks.quality.checkpoints import Trained
from benchmarks.quality.contenders import Layers
from benchmarks.quality.gates import LEAST_RIGHT, Gate, gates_of, horizon_of
from benchmarks.quality.ledger import Ledger, pack
from benchmarks.quality.plan import Extent
from benchmarks.quality.revision import revision_of
from benchmarks.quality.run import evaluate
from benchmarks.quality.thinker import Size
from benchmarks.quality.train import Recipe, train

Told = Callable[[str, float], None]
"""Is told what is being done, and how much of it is."""
PLANNED = ("8x96-taught6-seed0", "8x96-taught6-seed1", "8x96-taught6-seed2", "12x96-taught9-seed0")
"""Names of the models of docs/quality.md."""
HORIZON_ITEMS, GATE_ITEMS = 100, 300
ITEMS = "items.jsonl"


@dataclass(frozen=True)
class Place:
    """Folders of a run."""

    folder: Path

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def items(self, extent: Extent) -> Path:
        return self.results / items_file(extent)


def items_file(extent: Extent) -> str:
    """Of an extent that is not everything, under its name."""
    return ITEMS if extent.whole else f"items-{extent.name}.jsonl"


COMMITTED = Place(Path(__file__).parent)


def trained_in(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Checkpoints by name or as files; without names all in the folder.

    Raises:
        FileNotFoundError: there are none. ValueError: no such name.
    """
    known = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    found = []
    for name in names or known:
        path = known.get(name, Path(name))
        if not path.exists():
            raise ValueError(f"models: expected a file or one of {', '.join(known) or '(none)'}, got {name!r}")
        found.append(path)
    if not found:
        raise FileNotFoundError(f"{folder}: expected trained thinkers, made by: python -m benchmarks quality train")
    return found


def named(name: str) -> tuple[Size, int]:
    """What `checkpoints.name_of` was given. Raises ValueError: no such name."""
    found = re.fullmatch(r"(\d+)x(\d+)(?:-taught(\d+))?-seed(\d+)", name)
    if found is None:
        raise ValueError(f"models: expected names such as {PLANNED[0]}, got {name!r}")
    layers, width, taught, seed = (int(part or 0) for part in found.groups())
    return Size(layers, width, taught), seed


def train_missing(place: Place, names: Sequence[str], recipe: Recipe, told: Told) -> list[Path]:
    """A checkpoint of each name; those that are there are left as they are. Raises ValueError: no such name."""
    wanted = {name: named(name) for name in names}
    found = []
    for name, (size, seed) in wanted.items():
        path = place.models / f"{name}.safetensors"
        if not path.exists():
            train(size, seed, recipe, place.models, lambda part, done, name=name: told(f"{name}: {part}", done))
        found.append(path)
    return found


def pass_gates(path: Path, results: Path, told: Told) -> list[Gate]:
    """Horizon, layers and gates of a model, each in a file."""
    trained = checkpoints.load(path)
    results.mkdir(parents=True, exist_ok=True)
    said = f"{path.stem}: horizon"
    horizon = horizon_of(trained, HORIZON_ITEMS, lambda share: told(said, share))
    _write(results / f"horizon-{path.stem}.json", horizon.to_dict())
    chosen = layers.choose(path, trained, horizon, LEAST_RIGHT)
    gates = gates_of(trained, chosen, GATE_ITEMS, lambda done, of: told(f"{path.stem}: gates", done / of))
    _write(results / f"gates-{path.stem}.json", [asdict(gate) for gate in gates])
    return gates


def _write(path: Path, said: Any) -> None:
    path.write_text(json.dumps(said) + "\n", encoding="utf-8")


def answer_all(
    paths: Sequence[Path],
    items: Path,
    extent: Extent,
    told: Callable[[int, int], None],
    workers: int | None = None,
) -> None:
    """Adds what is missing to the file of items, then packs it and writes what everything costs beside it.

    Raises:
        FileNotFoundError, ValueError: a model without layers; items of another revision.
    """
    trained = {path: checkpoints.load(path) for path in paths}
    chosen = {path: layers.read(path, one) for path, one in trained.items()}
    ledger = Ledger(items, revision_for(trained, chosen))
    evaluate(chosen, ledger, extent, told, workers)
    if extent.whole:
        pack(items, items.with_name(f"{items.name}.gz"))
        by_model = {path.stem: costs.costs_of(trained[path].model.config, one) for path, one in chosen.items()}
        costs.write(items.parent, ledger.revision, by_model)


def revision_for(trained: Mapping[Path, Trained], chosen: Mapping[Path, Layers]) -> dict[str, Any]:
    acting = {path.stem: {"drops": list(one.drops), "late": one.late} for path, one in chosen.items()}
    return revision_of(trained.values(), acting)
