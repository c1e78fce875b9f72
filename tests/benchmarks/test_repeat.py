"""The command beside a row does that row again, and no other."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import ceilings, decode, whole_prefill
from benchmarks.commands import app


def rows_of(command: list[str], file: Path) -> list[dict[str, Any]]:
    file.unlink(missing_ok=True)
    run = CliRunner().invoke(app, [*command, "--output", str(file)])
    assert run.exit_code == 0, run.output or run.exception
    return [json.loads(line) for line in file.read_text().splitlines()]


def arguments(row: dict[str, Any]) -> list[str]:
    start, *rest = shlex.split(row["again"].removeprefix("python -m benchmarks "))
    assert row["again"].startswith("python -m benchmarks ")
    return [start, *rest]


@pytest.fixture(autouse=True)
def quick_and_green(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "MATRIX", {"cpu": 16, "cuda": 16})
    monkeypatch.setattr(ceilings, "COPY_BYTES", 2**12)
    for module in ("primitives", "growth", "whole_model"):
        monkeypatch.setattr(f"benchmarks.{module}.require_green", lambda *_: "green")


@pytest.mark.parametrize(
    ("command", "number"),
    [
        (["run", "max_min_diversity", "segment_topk", "--size", "tiny", "--device", "cpu", "--repeats", "2"], 3),
        (["growth", "segment_topk", "--longest", "225", "--device", "cpu", "--repeats", "1"], 8),
    ],
    ids=["run", "growth"],
)
def test_one_row_again(command: list[str], number: int, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    # torch-fps, where it is installed, adds cases.
    first = [row for row in rows_of(command, file) if "unweighted" not in row["name"]]
    assert len(first) == number
    for row in (first[0], first[-1]):
        (again,) = rows_of(arguments(row), file)
        same = ("name", "size", "repeats", "clock", "flops", "bytes", "axis", "place", "again")
        assert {key: again.get(key) for key in same} == {key: row.get(key) for key in same}


def test_one_prefill_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(whole_prefill, "compare", lambda *given: asked.append(given) or [])
    row = {"again": whole_prefill.again(128, 2, 60, "cpu", 1, 10)}
    CliRunner().invoke(app, [*arguments(row), "--output", str(tmp_path / "rows.jsonl")])
    assert asked == [(128, 2, 60, torch.device("cpu"), 1, [10])]


def test_one_side_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(decode, "compare", lambda *given: asked.append(given) or [])
    row = {"again": decode.again(128, 2, 10, 4, 1, "uniform")}
    CliRunner().invoke(app, [*arguments(row), "--output", str(tmp_path / "rows.jsonl")])
    assert asked == [(128, 2, 10, 4, 1, ["uniform"])]


def test_a_case_that_an_entry_has_not_is_an_error(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--output", str(tmp_path / "rows.jsonl")]
    run = CliRunner().invoke(app, ["run", "segment_topk/clip", "--size", "tiny", *options])
    assert run.exit_code == 2 and "segment_topk/drop" in run.output
    run = CliRunner().invoke(app, ["growth", "growth/tokens/7/compact/drop", "--longest", "60", *options])
    assert run.exit_code == 2 and "growth/tokens/7/compact/drop" in run.output
