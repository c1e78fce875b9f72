"""The launch table: what it holds, which one a device follows, and what is refused about a user's file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.gpu.strict_cuda import NAME, strict_cuda
from seats_ops.ops import tile_tables
from seats_ops.ops.tile_grid import GRID, candidates, changed, grid_of
from seats_ops.ops.tile_tables import VARIABLE, device_kind, hold_tiles, kernels, read, table_of, tiles
from seats_ops.ops.tiles import DEFAULT, OVERRIDES, number_case, width_case

H100 = {"kind": "sm_90", "name": NAME}
FILE: dict[str, Any] = {
    "format": 1,
    "device": H100,
    "rehearsed": False,
    "tiles": {"distances": {"BLOCK_OWN": 4}},
    "made_with": {"kernels": kernels()},
}
CUDA = torch.device("cuda", 1)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    tile_tables._of_gpu.cache_clear()
    with strict_cuda():
        yield
    tile_tables._of_gpu.cache_clear()


def written(folder: Path, content: object) -> Path:
    file = folder / "h100.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


@pytest.mark.parametrize("made_with", [{}, {"kernels": "0123"}])
def test_a_table_of_other_kernels_is_followed_with_a_warning(tmp_path: Path, made_with: dict[str, str]) -> None:
    file = written(tmp_path, {**FILE, "made_with": made_with})
    with pytest.warns(
        UserWarning, match=rf"kernels of this version \({kernels()}\), got one of {made_with.get('kernels')}"
    ):
        assert read(file, **H100)["distances"]["BLOCK_OWN"] == 4


@pytest.mark.parametrize("kind", ["default", *OVERRIDES])
def test_every_entry_is_a_point_of_its_grid(kind: str) -> None:
    for entry, tile in table_of(kind).items():
        for field, values in grid_of(entry).items():
            assert tile.options[field] in values, (entry, field)


def test_every_grid_belongs_to_an_entry_and_every_override_too() -> None:
    for prefix in GRID:
        assert any(grid_of(entry) is GRID[prefix] for entry in DEFAULT), prefix
    for kind, overrides in OVERRIDES.items():
        assert overrides.keys() <= DEFAULT.keys(), kind


@pytest.mark.parametrize("entry", DEFAULT)
def test_candidates_are_few_and_all_different(entry: str) -> None:
    found = list(candidates(entry, DEFAULT[entry]))
    assert found[0] == DEFAULT[entry]
    assert 2 <= len(found) <= 48
    assert all(one != other for place, one in enumerate(found) for other in found[:place])
    assert all(tile.blocks.keys() == DEFAULT[entry].blocks.keys() for tile in found)


def test_cases() -> None:
    assert [number_case(dtype) for dtype in (torch.float32, torch.bfloat16, torch.float16)] == ["fp32", *["16bit"] * 2]
    assert [width_case(channels) for channels in (16, 64, 80, 128, 129)] == ["64", "64", "128", "128", "wide"]
    assert [width_case(channels, narrowest=16) for channels in (16, 24, 48)] == ["16", "32", "64"]


def test_a_cpu_follows_the_default_whatever_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/nowhere.json")
    assert tiles(torch.device("cpu")) is DEFAULT


def test_a_gpu_follows_its_kind(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = (changed(DEFAULT["head_mean"], {"BLOCK": size}) for size in (256, 512))
    monkeypatch.setitem(OVERRIDES, "sm_90", {"head_mean": mine})
    monkeypatch.setitem(OVERRIDES, "sm_80", {"head_mean": other})
    assert device_kind(CUDA) == "sm_90"
    assert tiles(CUDA)["head_mean"] is mine
    assert table_of("sm_80")["head_mean"] is other
    assert table_of("sm_75") == DEFAULT


def test_a_device_of_amd_is_called_by_its_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", "6.4")
    properties = SimpleNamespace(gcnArchName="gfx942:sramecc+:xnack-")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert device_kind(CUDA) == "gfx942"


def test_a_file_is_picked_up_and_read_once(gpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(written(tmp_path, FILE)))
    table = tiles(CUDA)
    assert table["distances"].options == {**DEFAULT["distances"].options, "BLOCK_OWN": 4}
    assert all(table[entry] is DEFAULT[entry] for entry in DEFAULT if entry != "distances")
    (tmp_path / "h100.json").unlink()
    assert tiles(CUDA) is table
    monkeypatch.setenv(VARIABLE, str(tmp_path / "h100.json"))
    monkeypatch.delenv(VARIABLE)
    assert tiles(CUDA)["distances"] == DEFAULT["distances"]


def test_a_missing_file_is_refused_at_every_launch(gpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.json"))
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"SEATS_OPS_TILES: expected a JSON file .*, got none.json: .*No such file"
        ):
            tiles(CUDA)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"SEATS_OPS_TILES: expected a JSON file .*, got h100.json: Expecting"),
        ([], r"h100.json\): expected format 1, got 'list'"),
        ({**FILE, "format": 2}, "expected format 1, got 2"),
        ({**FILE, "format": True}, "expected format 1, got True"),
        ({key: FILE[key] for key in FILE if key != "format"}, "expected format 1, got None"),
        ({**FILE, "colour": 1}, "field: expected one of format, device, .*, got colour"),
        ({**FILE, "tiles": {"gram": {}}}, "kernel: expected one of .*gram/fp32.*, got gram"),
        ({**FILE, "tiles": [1]}, r"tiles: expected an object of names and values, got \[1\]"),
        ({**FILE, "tiles": {"distances": 4}}, "distances: expected an object of names and values, got 4"),
        ({**FILE, "tiles": {"distances": {"BLOCK": 4}}}, "distances: field: expected one of BLOCK_OWN, .* got BLOCK"),
        ({**FILE, "tiles": {"distances": {"BLOCK_OWN": 5}}}, r"BLOCK_OWN: expected one of \(4, 8, 16\), got 5"),
        ({**FILE, "tiles": {"distances": {"BLOCK_OWN": 4.0}}}, r"BLOCK_OWN: expected one of \(4, 8, 16\), got 4.0"),
        ({**FILE, "tiles": {"window_budget/1024": {"BLOCK": True}}}, r"BLOCK: expected one of \(1, 2\), got True"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read(written(tmp_path, content), **H100)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**FILE, "rehearsed": True}, "expected rehearsed: false, got True: no device was timed"),
        ({key: FILE[key] for key in FILE if key != "rehearsed"}, "expected rehearsed: false, got None"),
        ({**FILE, "device": {**H100, "kind": "sm_80"}}, "expected the table of .*'sm_90'.*, got that of .*'sm_80'"),
        ({**FILE, "device": {**H100, "name": "H200"}}, f"expected the table of .*{NAME}.*, got that of .*'H200'"),
        ({key: FILE[key] for key in FILE if key != "device"}, "expected the table of .*, got that of None"),
    ],
)
def test_files_of_another_device_are_refused(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=message):
        read(written(tmp_path, content), **H100)


def test_a_held_table_counts_for_every_device_until_the_block_ends() -> None:
    other = {**DEFAULT, "gather": DEFAULT["head_mean"]}
    with pytest.raises(ZeroDivisionError), hold_tiles(other):
        assert tiles(torch.device("cpu")) is other and tiles(CUDA) is other
        raise ZeroDivisionError
    assert tiles(torch.device("cpu")) is DEFAULT
