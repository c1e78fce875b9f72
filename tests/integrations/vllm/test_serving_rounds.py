"""The benchmark of engines at its smallest size: two of them, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("vllm")

from typer.testing import CliRunner

from benchmarks.commands import app
from benchmarks.results import read
from seats_ops import DiversitySelector, Schedule
from seats_ops.cost import PromptLengths, token_counts


def test_both_sides_take_turns(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    sizes = ["--requests", "2", "--seconds", "4", "--side", "56", "--tokens", "3", "--width", "128", "--layers", "2"]
    once = ["--concurrency", "1", "--concurrency", "2", "--repeats", "1", "--device", "cpu"]
    run = CliRunner().invoke(app, ["serving", *sizes, *once, "--output", str(file)])
    assert run.exit_code == 0, run.output or run.exception
    rows = read(file)
    # Grids of two frames and 2 x 2 tokens, two a block; 25 tokens a second of sound, 50 a block.
    lengths = PromptLengths(0, (8, 8), (50, 50))
    kept = token_counts(Schedule(DiversitySelector({"video": 0.1, "audio": 0.35})), lengths)[-1]
    assert [row["concurrency"] for row in rows] == [1, 2]
    for row in rows:
        assert row["prompt_tokens_unpruned"] - row["prompt_tokens"] == 116 - kept.video - kept.audio
        assert len(row["seconds_to_first_token"]["raw"]) == 2
        assert 0 < row["seconds_to_first_token"]["median"] < row["seconds"]["median"]
        for suffix, choosing in (("", True), ("_unpruned", False)):
            parts = row[f"parts{suffix}"]
            assert (parts["choosing"] > 0) == choosing
            assert min(parts["encoders"], parts["decoder"], parts["rest"]) > 0
