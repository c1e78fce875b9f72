"""Real features from the packages that carry the weights; `make real-features` makes the environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.real_features.run import REAL
from benchmarks.results import read

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "real-features" / "bin" / "python"

pytestmark = pytest.mark.skipif(
    not (PYTHON.parents[1] / ".ready").exists(), reason="needs .venv/real-features: run `make real-features` once"
)


def smoke(output: Path) -> None:
    command = [PYTHON, "-m", "benchmarks", "real-features", "--smoke", "--output", output]
    done = subprocess.run(command, cwd=ROOT, env={"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_interrupted_run_goes_on_and_finds_what_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "smoke.jsonl"
    smoke(path)
    whole = path.read_text(encoding="utf-8")
    first = whole.splitlines(keepends=True)[0]
    path.write_text(first, encoding="utf-8")
    smoke(path)
    assert path.read_text(encoding="utf-8") == whole

    committed = {row["name"]: row for row in read(REAL)}
    for row in read(path):
        there = committed[row["name"]]
        for key in ("rules", "settings", "files"):
            assert row["revision"][key] == there["revision"][key]
        for name, numbers in row["cells"]["0.1"].items():
            expected = there["cells"]["0.1"][name]
            assert numbers.keys() == expected.keys()
            # Another processor may round a feature otherwise, and a method then pick another patch here and there.
            for number in numbers.keys() & {"kept", "radius", "facility", "similarity"}:
                assert numbers[number] == pytest.approx(expected[number], abs=0.02), (row["name"], name, number)
