"""Steps of the chain find their files, and say which step is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("statsmodels")

from benchmarks.quality import checkpoints, layers, steps
from benchmarks.quality.contenders import Layers
from benchmarks.quality.gate_tables import read_all
from benchmarks.quality.gates import Gate
from benchmarks.quality.plan import FULL, SMOKE
from benchmarks.quality.thinker import Size, new_thinker
from benchmarks.quality.train import Recipe
from seats_ops.horizon import Horizon
from seats_ops.horizon.curves import Cell

SIZE = Size(layers=4, width=48, taught_layer=0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "4x48-seed0.safetensors"
    checkpoints.save(path, new_thinker(SIZE, 0), SIZE, 0)
    return path


@pytest.mark.parametrize("name", [*steps.PLANNED, "4x48-seed7"])
def test_names_are_read_as_they_are_written(name: str) -> None:
    assert checkpoints.name_of(*steps.named(name)) == name


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="models: expected names such as 8x96-taught6-seed0, got '7b'"):
        steps.train_missing(steps.Place(Path("nowhere")), ["7b"], Recipe(), lambda part, done: None)
    assert not Path("nowhere").exists()


def test_only_missing_models_are_trained(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(steps, "train", lambda *given: asked.append(given[:2]))
    models = checkpoint.parent / "models"
    models.mkdir()
    checkpoint.rename(models / checkpoint.name)
    found = steps.train_missing(
        steps.Place(models.parent), ["4x48-seed0", "4x48-seed1"], Recipe(), lambda part, done: None
    )
    assert asked == [(SIZE, 1)]
    assert [path.stem for path in found] == ["4x48-seed0", "4x48-seed1"]


def test_models_are_found_by_name_and_as_files(checkpoint: Path, tmp_path: Path) -> None:
    assert steps.trained_in(tmp_path) == steps.trained_in(tmp_path, ["4x48-seed0"]) == [checkpoint]
    assert steps.trained_in(tmp_path / "none", [str(checkpoint)]) == [checkpoint]
    with pytest.raises(ValueError, match="models: expected a file or one of 4x48-seed0, got '7b'"):
        steps.trained_in(tmp_path, ["7b"])
    with pytest.raises(
        FileNotFoundError, match="expected trained thinkers, made by: python -m benchmarks quality train"
    ):
        steps.trained_in(tmp_path / "none")


def test_layers_are_of_these_weights(checkpoint: Path) -> None:
    trained = checkpoints.load(checkpoint)
    with pytest.raises(FileNotFoundError, match=r"expected layers chosen for 4x48-seed0\.safetensors, made by:"):
        layers.read(checkpoint, trained)
    said = {"model": trained.digest, "late": 3, "drops": [1, 2]}
    layers.file_of(checkpoint).write_text(json.dumps(said))
    assert layers.read(checkpoint, trained) == Layers((1, 2), 3)
    layers.file_of(checkpoint).write_text(json.dumps({**said, "model": "0"}))
    with pytest.raises(
        ValueError, match=f"expected layers chosen for the weights {trained.digest}, got 0; again: python"
    ):
        layers.read(checkpoint, trained)


def test_gates_leave_three_files(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what the page reads."""
    cells = {("media", layer): Cell((0,), (1.0,), (0.0,), (5,)) for layer in range(5)}
    horizon = Horizon(4, tuple(range(5)), ("video",), 0.2, 1, 0, (5,), ("menu",), cells)
    gate = Gate("full", "menu", 299, 300, 0.95, at_most=False, passed=True)
    monkeypatch.setattr(steps, "horizon_of", lambda trained, items, told: horizon)
    monkeypatch.setattr(steps, "gates_of", lambda trained, chosen, items, told: [gate])
    monkeypatch.setattr(layers, "layers_of", lambda found: Layers((1, 2), 3))
    results = tmp_path / "results"
    assert steps.pass_gates(checkpoint, results, lambda part, done: None) == [gate]
    found = read_all([checkpoint.stem], results, tmp_path)[checkpoint.stem]
    assert found.gates == [gate] and found.horizon == horizon
    assert layers.read(checkpoint, checkpoints.load(checkpoint)) == Layers((1, 2), 3)
    assert found.layers["reasons"] == list(horizon.suggest().reasons)


def test_without_layers_nothing_is_answered(checkpoint: Path, tmp_path: Path) -> None:
    items = tmp_path / "out" / "items.jsonl"
    with pytest.raises(FileNotFoundError, match="expected layers chosen"):
        steps.answer_all([checkpoint], items, SMOKE, lambda done, of: None)
    assert not items.exists()


def test_a_smoke_run_has_a_file_of_its_own() -> None:
    """Its revision is of fewer models: in one file with everything it would be in the way."""
    assert (steps.items_file(FULL), steps.items_file(SMOKE)) == ("items.jsonl", "items-smoke.jsonl")
