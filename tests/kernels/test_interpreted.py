"""The kernels under Triton's interpreter: the contract tests of every primitive, and tests of the kernels' own.

TRITON_INTERPRET must be set before Triton is imported, so they run in processes of their own: one for the contract of
a primitive, one for the further files of its contract, and one for each file about kernels. Other versions of Triton
run the first of these (tests/slice.txt). To run one by hand:
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
OPS = ROOT / "tests/ops"
FURTHER = {name: sorted(OPS.glob(f"test_{name}_*.py")) for name in functional.__all__}
OF_KERNELS = [
    *sorted((ROOT / "tests/kernels/interpreted").glob("test_*.py")),
    ROOT / "tests/kernels/test_torch_operators.py",
]

pytestmark = pytest.mark.skipif(why_not_interpreted() is not None, reason=str(why_not_interpreted()))


def interpret(*files: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.kernels.session", "-p", "no:cacheprovider"]
    command += map(str, files)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"


@pytest.mark.parametrize("name", functional.__all__)
def test_contract(name: str) -> None:
    interpret(OPS / f"test_{name}.py")


@pytest.mark.parametrize("name", [name for name, files in FURTHER.items() if files])
def test_further_contract(name: str) -> None:
    interpret(*FURTHER[name])


@pytest.mark.parametrize("file", OF_KERNELS, ids=lambda file: file.stem)
def test_kernels(file: Path) -> None:
    interpret(file)
