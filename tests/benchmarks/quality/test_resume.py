"""An evaluation that is interrupted goes on, loses nothing and answers nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.quality import checkpoints, run, steps
from benchmarks.quality.contenders import Layers
from benchmarks.quality.ledger import Ledger, read_rows
from benchmarks.quality.plan import Extent
from benchmarks.quality.run import Work, answer, evaluate
from benchmarks.quality.tasks import task
from benchmarks.quality.thinker import Size, new_thinker

# Whole chunks of the full model alone: what goes on is the same with contenders, and takes longer.
EXTENT = Extent("bare", chunks=2, curve_chunks=0, retentions=(), whole=False)
TASKS = ("needle-1", "gist")
LAYERS = Layers((1,), 3)


def test_what_is_missing_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size(layers=4, width=48, taught_layer=0)
    path = tmp_path / "4x48-seed0.safetensors"
    checkpoints.save(path, new_thinker(size, 0), size, 0)
    trained = {path: checkpoints.load(path)}
    monkeypatch.setattr(run, "tasks_of", lambda extent: [(task(name), extent.chunks) for name in TASKS])
    items = tmp_path / "items.jsonl"

    def opened() -> Ledger:
        return Ledger(items, steps.revision_for(trained, {path: LAYERS}))

    def interrupted(done: int, of: int) -> None:
        assert of == 4
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate({path: LAYERS}, opened(), EXTENT, interrupted, workers=1)
    [first] = list(read_rows(items))
    with items.open("a") as file:
        file.write('{"model":"4x48-seed0","ta')  # What a power cut leaves.
    told: list[tuple[int, int]] = []
    evaluate({path: LAYERS}, opened(), EXTENT, lambda done, of: told.append((done, of)), workers=1)
    assert told == [(1, 3), (2, 3), (3, 3)]
    rows = list(read_rows(items))
    assert rows[0] == first and len(rows) == 4
    for row in rows:
        alone = answer(Work(path, LAYERS, EXTENT, row["task"], row["chunk"], frozenset()))
        assert row["cells"] == json.loads(json.dumps(alone))
    assert {(row["task"], row["chunk"]) for row in rows} == {(name, chunk) for name in TASKS for chunk in (0, 1)}


def test_results_on_other_layers_are_named_and_not_mixed(tmp_path: Path) -> None:
    size = Size(layers=4, width=48, taught_layer=0)
    path = tmp_path / "4x48-seed0.safetensors"
    checkpoints.save(path, new_thinker(size, 0), size, 0)
    trained = {path: checkpoints.load(path)}
    Ledger(tmp_path / "items.jsonl", steps.revision_for(trained, {path: LAYERS}))
    before = (tmp_path / "items.jsonl").read_bytes()
    with pytest.raises(
        ValueError, match=r"items\.jsonl: results of another revision, never mixed: layers is .*'late': 3"
    ):
        Ledger(tmp_path / "items.jsonl", steps.revision_for(trained, {path: Layers((1,), 2)}))
    assert (tmp_path / "items.jsonl").read_bytes() == before
