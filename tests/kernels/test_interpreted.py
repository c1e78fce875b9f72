"""The kernels under Triton's interpreter: the contract tests of every primitive, and tests of the kernels' own.

TRITON_INTERPRET must be set before Triton is imported, so they run in processes of their own: one for the contract of
a primitive, as its files share the seconds that imports take, and one for each other file. To run one by hand:
`TRITON_INTERPRET=1 python -m pytest -p tests.kernels.session tests/ops/test_compact.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seats_ops import functional
from seats_ops.testing.interpreter import why_not_interpreted

ROOT = Path(__file__).parents[2]
RUNS = {f"contract-{name}": sorted((ROOT / "tests/ops").glob(f"test_{name}*.py")) for name in functional.__all__}
RUNS |= {f"kernels-{file.stem}": [file] for file in sorted((ROOT / "tests/kernels/interpreted").glob("test_*.py"))}
RUNS["kernels-test_torch_operators"] = [ROOT / "tests/kernels/test_torch_operators.py"]


@pytest.mark.skipif(why_not_interpreted() is not None, reason=str(why_not_interpreted()))
@pytest.mark.parametrize("files", RUNS.values(), ids=RUNS.keys())
def test_under_the_interpreter(files: list[Path]) -> None:
    assert files
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.kernels.session", "-p", "no:cacheprovider"]
    command += map(str, files)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
