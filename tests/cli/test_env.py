"""What `seats-ops env` says about the launch table of a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.gpu.strict_cuda import NAME, strict_cuda
from seats_ops.cli.app import app
from seats_ops.ops import tile_tables
from seats_ops.ops.tiles import DEFAULT, OVERRIDES


def of_a_gpu(monkeypatch: pytest.MonkeyPatch, file: str = "") -> str:
    monkeypatch.setenv(tile_tables.VARIABLE, file)
    tile_tables._of_gpu.cache_clear()
    with strict_cuda():
        result = CliRunner().invoke(app, ["env", "--json"])
    tile_tables._of_gpu.cache_clear()
    assert result.exit_code == 0, result.output or result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["tiles 0"] == found["tiles 1"]
    return str(found["tiles 1"])


def test_the_shipped_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_a_gpu(monkeypatch) == "as shipped, sm_90 follows the default"
    monkeypatch.setitem(OVERRIDES, "sm_90", {"gather": DEFAULT["gather"]})
    assert of_a_gpu(monkeypatch) == "as shipped, sm_90 has its own"


def test_a_file_and_what_it_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    device = {"kind": "sm_90", "name": NAME}
    same = {field: DEFAULT["gather"][field] for field in ("ROWS", "COLUMNS")}
    content = {"format": 1, "device": device, "rehearsed": False, "tiles": {"norms": {"TOKENS": 16}, "gather": same}}
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(content))
    assert of_a_gpu(monkeypatch, str(file)) == "SEATS_OPS_TILES (mine.json), which changes norms"


def test_a_refused_file_and_no_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = of_a_gpu(monkeypatch, str(tmp_path / "none.json"))
    assert said.startswith("kernels are refused: SEATS_OPS_TILES: expected a JSON file") and "none.json" in said
    assert str(tmp_path) not in said
