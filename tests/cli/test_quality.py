"""`seats-ops quality` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("statsmodels")

from benchmarks.quality import plan, steps
from seats_ops.cli import quality_run
from seats_ops.cli.app import app
from tests.benchmarks.quality.results import cell, first, write


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["quality", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def test_from_a_wheel_it_says_that_it_needs_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_run.seats_ops, "__file__", str(tmp_path / "seats_ops" / "__init__.py"))
    code, _, said = run("--output", tmp_path / "out")
    assert code == 1
    assert (
        f"quality runs from a checkout of seats_ops, which has the benchmark and its trained models; {tmp_path}" in said
    )
    assert "pip install -e '.[quality]'" in said and not (tmp_path / "out").exists()


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, _, said = run("--output", tmp_path, "--models", "7b")
    assert code == 1 and "models: expected a file or one of" in said and "got '7b'" in said


def test_the_table_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of answers that are there; how they come there is tested with the benchmark."""
    asked = []

    def answered(paths: list[Path], items: Path, extent: plan.Extent, told: object, workers: int | None) -> None:
        asked.append((paths, items, extent, workers))
        write(
            items,
            lambda model, task, chunk: {
                "seats|layer-average|0.2": cell(first(75)),
                "fastv|layer-average|0.2": ["ratio: costs 0.5212 of the whole prompt at least, more than 0.2"],
            },
        )

    monkeypatch.setattr(steps, "answer_all", answered)
    checkpoint = tmp_path / "thinker.safetensors"
    checkpoint.touch()
    code, said, _ = run("--output", tmp_path / "out", "--models", checkpoint, "--workers", 1)
    assert code == 0
    assert asked == [([checkpoint], tmp_path / "out" / "items-smoke.jsonl", plan.SMOKE, 1)]
    lines = [line.split() for line in said.splitlines()]
    assert ["seats", "20.0", "75.0", "±4.5", "75.0", "±4.5"] in lines
    assert any(line[:4] == ["fastv", "cannot:", "52.1", "at"] for line in lines)
    assert "one thing" in said and "everything" in said
    assert max(map(len, said.splitlines()[:-1])) <= 80  # The last one has a path.
