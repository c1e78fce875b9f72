"""Benchmarks run, say what they measured, and refuse what is not proven right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import gate, plot
from benchmarks.__main__ import app
from benchmarks.entry import OURS, SMALL, builders
from benchmarks.memory import peak_bytes
from benchmarks.timing import measure, spread
from seats_ops import functional

CPU = torch.device("cpu")


def test_every_primitive_and_stage_has_an_entry() -> None:
    assert set(functional.__all__) | {"stage_one", "stage_two"} == set(builders())


@pytest.mark.parametrize("name", builders())
def test_every_side_runs(name: str) -> None:
    for entry in builders()[name](SMALL, CPU):
        assert entry.name.partition("/")[0] == name
        assert next(iter(entry.sides)) == OURS and len(entry.sides) > 1
        assert entry.num_bytes > 0
        for test in entry.tests:
            assert (Path(gate.ROOT) / test).exists()
        seconds = measure(entry.sides, CPU, repeats=1)
        assert seconds.keys() == entry.sides.keys() and all(len(times) == 1 for times in seconds.values())


def test_peak_memory_is_that_of_what_is_held_at_once() -> None:
    def in_turns() -> None:
        for _ in range(3):
            torch.zeros(2**18)

    assert peak_bytes(in_turns, CPU) == 2**20
    assert peak_bytes(lambda: [torch.zeros(2**18) for _ in range(3)], CPU) == 3 * 2**20


def test_spread() -> None:
    assert spread([5.0, 1.0, 4.0, 2.0, 3.0]) == {"median": 3.0, "p20": pytest.approx(1.8), "p80": pytest.approx(4.2)}


def test_results_are_appended_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.__main__.require_green", lambda tests: None)
    file, picture = tmp_path / "results.jsonl", tmp_path / "picture.png"
    for _ in range(2):
        run = CliRunner().invoke(
            app, ["run", "segment_topk", "--size", "small", "--repeats", "2", "--device", "cpu", "--output", str(file)]
        )
        assert run.exit_code == 0, run.output
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["name"] for row in rows] == ["segment_topk/drop"] * 2
    assert {"device", "versions", "revision", "dirty", "threads", "ceilings", "sides"} <= rows[0].keys()
    assert len(plot.latest(file)) == 1
    assert CliRunner().invoke(app, ["plot", str(file), str(picture)]).exit_code == 0
    assert picture.stat().st_size > 1000


def test_red_tests_forbid_timing(tmp_path: Path) -> None:
    red = tmp_path / "test_red.py"
    red.write_text("def test_red():\n    assert False\n")
    with pytest.raises(gate.RedTests, match="test_red"):
        gate.require_green((str(red),))
