"""What an installed `seats_ops` contains and imports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = PYPROJECT["project"]["version"]
DECLARED = set(PYPROJECT["tool"]["setuptools"]["packages"])


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


def packages_in(folder: Path, name: str) -> set[str]:
    inits = folder.rglob("__init__.py")
    return {".".join((name, *init.parent.relative_to(folder).parts)) for init in inits}


def test_declared_packages_are_the_folders() -> None:
    found = packages_in(ROOT / "seats_ops", "seats_ops") | packages_in(ROOT / "integrations", "seats_ops.integrations")
    assert found == DECLARED


def test_every_primitive_is_a_package() -> None:
    exported = run_python("from seats_ops import functional; print(*functional.__all__)")
    assert exported.returncode == 0, exported.stderr
    assert {f"seats_ops.ops.{name}" for name in exported.stdout.split()} <= DECLARED


def test_link_is_relative() -> None:
    link = ROOT / "seats_ops" / "integrations"
    # Git without symbolic links checks the link out as a text file that holds the target.
    assert (os.readlink(link) if link.is_symlink() else link.read_text()) == "../integrations"


def test_integrations_has_one_name() -> None:
    result = run_python("import integrations")
    assert result.returncode != 0
    assert "ImportError: this package is imported as 'seats_ops.integrations'" in result.stderr


def test_import_needs_no_heavy_package() -> None:
    result = run_python(
        "import sys, torch; before = set(sys.modules)\n"
        "import seats_ops, seats_ops.functional\n"
        "print(sorted({'triton', 'transformers', 'matplotlib', 'rich'} & (set(sys.modules) - before)))"
    )
    assert result.stdout.strip() == "[]", result.stderr


def test_inspect_needs_no_transformers() -> None:
    result = run_python("import sys, seats_ops.cli.inspecting; print('transformers' in sys.modules)")
    assert result.stdout.strip() == "False", result.stderr


@pytest.mark.parametrize("checkout", ["link", "link-as-text"])
def test_wheel_contains_the_adapters_once(checkout: str, tmp_path: Path) -> None:
    # Built from a copy: a build leaves its folder behind, and what lies in that folder ends up in the next wheel.
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    for name in ("seats_ops", "integrations"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    if checkout == "link-as-text":
        (source / "seats_ops" / "integrations").unlink()
        (source / "seats_ops" / "integrations").write_text("../integrations")

    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w"]
    built = subprocess.run([*command, tmp_path, source], capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr

    (wheel,) = tmp_path.glob("*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    assert {"seats_ops/py.typed", "seats_ops/integrations/huggingface/attachment.py"} <= set(files)
    assets = {f"seats_ops/inspector/assets/{path.name}" for path in (ROOT / "seats_ops/inspector/assets").iterdir()}
    assert assets and assets <= set(files)
    configs = {f"seats_ops/cli/configs/{path.name}" for path in (ROOT / "seats_ops/cli/configs").iterdir()}
    assert configs and configs <= set(files)
    assert {file.split("/")[0] for file in files} == {"seats_ops", f"seats_ops-{VERSION}.dist-info"}
    assert len(files) == len(set(files))
