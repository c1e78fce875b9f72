"""Outside the range of transformers versions that the tests run with, importing the adapters says so."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import transformers
from packaging.specifiers import SpecifierSet

from seats_ops.integrations.versions import SUPPORTED, unsupported_transformers

ROOT = Path(__file__).parents[2]
PACKAGE = "seats_ops.integrations"


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package counts as never imported, until the test is over."""
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(PACKAGE + ".")]:
        monkeypatch.delitem(sys.modules, name)


def test_the_range_is_that_of_the_package() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["hf"] == [f"transformers{SUPPORTED}"]


def test_the_tests_run_with_the_version_that_is_pinned_and_supported() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"\ntransformers=={transformers.__version__}\n" in pins
    assert transformers.__version__ in SpecifierSet(SUPPORTED)


@pytest.mark.parametrize("version", ["5.23.0", "5.23.4"])
def test_supported(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(transformers, "__version__", version)
    assert unsupported_transformers() is None


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("version", ["4.57.1", "5.22.2", "5.23.0.dev0", "5.24.0.dev0", "5.24.0", "6.0.0"])
def test_not_supported(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(transformers, "__version__", version)
    with pytest.raises(ImportError, match=f"expected a version {SUPPORTED}, got {re.escape(version)} "):
        importlib.import_module(PACKAGE)


@pytest.mark.usefixtures("forgotten")
def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=f"expected a version {SUPPORTED}, got none installed"):
        importlib.import_module(PACKAGE)
