"""A torch or Triton below the floor is refused by name, before anything of it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seats_ops import BackendUnavailable, floors, why_not_triton
from seats_ops import functional as F

ROOT = Path(__file__).parents[1]


def test_floors_are_those_of_the_package() -> None:
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f'"{name}>={floor}' in declared for name, floor in floors.FLOORS.items())


@pytest.mark.parametrize("version", ["2.11.0", "2.11.0a0+1234.nv26.03", "2.13.0+cpu", "3.0.0.dev1"])
def test_taken(version: str) -> None:
    assert floors.too_old("torch", version) is None


@pytest.mark.parametrize("version", ["2.10.1", "2.9.0+cu130", "1.13"])
def test_too_old(version: str) -> None:
    assert floors.too_old("torch", version) == f"torch: expected a version >=2.11, got {version}"


def test_an_older_torch_is_refused_at_import() -> None:
    code = "import torch; torch.__version__ = '2.10.0'; import seats_ops"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1] == "ImportError: torch: expected a version >=2.11, got 2.10.0"


def test_an_older_triton_is_no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr("seats_ops.backend._interpreted", lambda: True)
    monkeypatch.setattr(triton, "__version__", "3.5.1")
    floors.old_triton.cache_clear()
    said = "triton: expected a version >=3.6, got 3.5.1"
    keep = torch.ones(3, dtype=torch.bool)
    try:
        assert why_not_triton("compact", keep) == said
        with pytest.raises(BackendUnavailable, match=said):
            F.compact(keep, torch.ones(3, 2), backend="triton")
    finally:
        floors.old_triton.cache_clear()
