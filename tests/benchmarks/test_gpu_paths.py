"""What only a machine with a GPU runs, up to its kernels: every documented command, on a strict stand-in for CUDA."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import ceilings, machine, timing, whole_prefill
from benchmarks.commands import app
from benchmarks.entry import OURS, builders
from benchmarks.gate import ON_A_GPU
from benchmarks.gpu.strict_cuda import COUNT, CURRENT, Event, strict_cuda
from benchmarks.machine import ROOT
from benchmarks.prefill_model import config_of_width
from seats_ops.cli.app import app as seats_ops_command
from seats_ops.cli.device import pick_device
from seats_ops.cli.model import random_model
from seats_ops.cli.run import PAPER_RATIOS
from seats_ops.measure.stopwatch import now
from seats_ops.testing import parity


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ceilings, "MATRIX", {"cpu": 16, "cuda": 16})
    monkeypatch.setattr(ceilings, "COPY_BYTES", 2**12)
    monkeypatch.setattr(timing, "FLUSH_BYTES", 2**12)
    for module in ("primitives", "growth", "whole_model"):
        monkeypatch.setattr(f"benchmarks.{module}.require_green", lambda tests, device_type: "green")
    with strict_cuda():
        yield


def test_the_stand_in_is_as_strict_as_the_device() -> None:
    with pytest.raises(ValueError, match=r"Expected a torch\.device with a specified index or an integer"):
        torch.cuda.set_device(torch.device("cuda"))
    with pytest.raises(ValueError, match="Expected a cuda device"):
        torch.cuda.synchronize(torch.device("cpu"))
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.cuda.set_device(COUNT)
    with pytest.raises(RuntimeError, match="enable_timing"):
        Event().elapsed_time(Event())


@pytest.mark.parametrize(("name", "index"), [("", CURRENT), ("cuda", CURRENT), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_place_has_an_index(name: str, index: int) -> None:
    place = machine.place(name)
    assert (place.type, place.index) == ("cuda", index)
    assert pick_device(name or "auto") == place
    assert machine.describe(place)["device"] == "Fake H100"
    assert now(place) <= now(place)


def test_the_launch_table_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.json"
    found = []
    for content in (None, "{}", "{ }"):
        if content:
            file.write_text(content)
            monkeypatch.setenv("SEATS_OPS_TILES", str(file))
        found.append(machine.describe(torch.device("cuda:0"))["tiles"])
    assert found[0] == "shipped" and all(name.startswith("mine.json ") for name in found[1:])
    assert len(set(found)) == 3
    assert machine.describe(torch.device("cpu"))["tiles"] == "shipped"  # where no file is followed


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=f"got 'cuda:{COUNT}', but torch finds {COUNT}"):
        machine.place(f"cuda:{COUNT}")


@pytest.mark.parametrize("name", builders())
def test_every_entry_is_timed(name: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    run = CliRunner().invoke(
        app, ["run", name, "--size", "tiny", "--device", "cuda", "--repeats", "2", "--output", str(file)]
    )
    assert run.exit_code == 0, run.output or run.exception
    for row in map(json.loads, file.read_text().splitlines()):
        assert (row["device"], row["inputs"], row["tests"]) == ("Fake H100", 3, "green")
        # What the events and the allocator of the stand-in say, in seconds and bytes.
        assert row["sides"][OURS]["median"] == pytest.approx(1.5e-3)
        assert row["sides"][OURS]["peak_bytes"] == 4000


def test_growth_is_timed(tmp_path: Path) -> None:
    options = ["--longest", "60", "--repeats", "1", "--output", str(tmp_path / "rows.jsonl")]
    run = CliRunner().invoke(app, ["growth", "window_budget", *options])
    assert run.exit_code == 0, run.output or run.exception


def test_a_whole_prefill_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    # bfloat16 is slow on most CPUs, and four retentions take the same path as one.
    monkeypatch.setattr(
        whole_prefill, "model_of_width", lambda width, device: random_model(config_of_width(width), device=device)
    )
    monkeypatch.setattr(whole_prefill, "PAPER_RATIOS", {10: PAPER_RATIOS[10]})
    rows = whole_prefill.compare(128, 2, 60, machine.place("cuda"), repeats=1)
    assert all(row["seconds"]["median"] > 0 and row["own_seconds"] for row in rows)


def test_the_gate_runs_the_tests_of_the_device() -> None:
    assert all((ROOT / test).exists() for test in ON_A_GPU)


def test_parity_names_every_place_and_device() -> None:
    places = [(place["device"], place["backend"]) for place in parity.places()]
    assert ("cuda", "reference") in places and ("cuda", "triton") in places
    assert "devices: Fake H100, Fake H100" in parity.header()


def test_env_describes_the_devices() -> None:
    result = CliRunner().invoke(seats_ops_command, ["env", "--json"])
    assert result.exit_code == 0, result.output or result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["gpu 1"] == "Fake H100, 80 GiB, compute capability 9.0"
    assert "driver" in found
