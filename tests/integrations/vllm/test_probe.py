"""A vLLM that lacks something that this package relies on is refused, by the name of what it lacks."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from seats_ops.integrations.vllm.internals import EVERY, FAMILIES, VERSIONS
from seats_ops.integrations.vllm.probe import check_internals, check_version, differences

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
LINES = sorted({(place, line) for needs in (EVERY, *FAMILIES.values()) for place in needs for line in needs[place]})


def holder(name: str) -> Any:
    """A decorator, as the one of vLLM that compiles, that puts another `__init__` around that of a class."""

    def decorated(cls: Any) -> Any:
        made = cls.__init__

        def __init__(self: Any) -> None:
            made(self)

        cls.__init__ = __init__
        return cls

    return decorated(type(name, (Layers,), {}))


class Layers:
    declared: int

    def __init__(self) -> None:
        self.layers: list[int] = []

    def kept(self, items: list[int], more: str = "", *, name: str = "a") -> None: ...

    @classmethod
    def made(cls, *args: int, **kwargs: int) -> None: ...


@pytest.fixture
def engine_module(monkeypatch: pytest.MonkeyPatch) -> str:
    """Of an engine that has `Layers`, and the same in a decorator."""
    module = ModuleType("an_engine")
    module.Layers, module.Held = Layers, holder("Held")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "an_engine", module)
    return "an_engine"


def test_what_is_there_passes(engine_module: str) -> None:
    lines = (
        "declared",
        "layers",
        "kept(self, items, more, *, name)",
        "kept(self, items, ...)",
        "made(*args, **kwargs)",
    )
    assert not list(differences({f"{engine_module}:Layers": lines, f"{engine_module}:Held": lines}))


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("blocks", "none"),
        ("kept_of(self, items)", "none"),
        ("kept(self, items)", "kept(self, items, more, *, name)"),
        ("kept(self, item, ...)", "kept(self, items, more, *, name)"),
        ("kept(self, items, more, name)", "kept(self, items, more, *, name)"),
        ("made(*args)", "made(*args, **kwargs)"),
    ],
)
def test_what_is_not_there_is_named(line: str, got: str, engine_module: str) -> None:
    place = f"{engine_module}:Held"
    assert list(differences({place: (line,)})) == [f"expected {line} in {place}, got {got}"]


@pytest.mark.parametrize("place", ["an_engine:Nobody", "no_engine:Layers"])
def test_a_class_or_a_module_that_is_not_there_is_named(place: str, engine_module: str) -> None:
    assert list(differences({place: ("layers",)})) == [f"expected {place}, got none"]


@pytest.mark.parametrize("version", ["0.31.1", "0.34.0", "0.3.2", "1.0.0"])
def test_another_version_is_refused(version: str) -> None:
    for known in VERSIONS:
        check_version(f"{known}.0")
    check_version("0.32.0+cpu")
    with pytest.raises(ImportError, match=rf"vllm: expected a version among 0\.32\.\*, 0\.33\.\*, got {version}"):
        check_version(version)


def test_it_is_refused_before_a_name_of_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "vllm.py").write_text('__version__ = "0.34.0"')
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import seats_ops.integrations.vllm.qwen2_5_omni"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "ImportError: vllm: expected a version among 0.32.*, 0.33.*, got 0.34.0"


def test_an_admitted_version_without_what_is_relied_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vllm.py").write_text('__version__ = "0.33.1"')
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import seats_ops.integrations.vllm.qwen2_5_omni"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = done.stderr.splitlines()[-1]
    assert said.startswith("ImportError: vLLM 0.33.1: expected vllm:ModelRegistry, got none; ")
    assert "expected vllm.multimodal.inputs:PlaceholderRange, got none" in said


@needs_vllm
@pytest.mark.parametrize("family", FAMILIES)
def test_the_installed_one_passes(family: str) -> None:
    check_internals(family)


@needs_vllm
@pytest.mark.parametrize(("place", "line"), LINES)
def test_each_line_is_missed(place: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family = next(name for name, needs in FAMILIES.items() if line in {**EVERY, **needs}.get(place, ()))
    forget(place, line, monkeypatch)
    with pytest.raises(ImportError) as refused:
        check_internals(family)
    assert f"expected {line} in {place}, got " in str(refused.value)


def forget(place: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class, or that of an object, loses a method or an attribute, wherever it has it from."""
    module, _, owner = place.partition(":")
    found = getattr(import_module(module), owner)
    name, method, _ = line.partition("(")
    for base in (found if isinstance(found, type) else type(found)).__mro__[:-1]:
        if name in vars(base):
            monkeypatch.delattr(base, name)
        if name in getattr(base, "__annotations__", ()):
            monkeypatch.delitem(base.__annotations__, name)
        if not method and "__init__" in vars(base):
            monkeypatch.setattr(base, "__init__", lambda self: None)


@needs_vllm
@pytest.mark.parametrize(
    ("place", "line"), [(place, line) for place, line in LINES if line.endswith(")") and "vllm" in place]
)
def test_each_method_with_other_parameters_is_missed(place: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family = next(name for name, needs in FAMILIES.items() if line in {**EVERY, **needs}.get(place, ()))
    module, _, owner = place.partition(":")
    monkeypatch.setattr(getattr(import_module(module), owner), line.partition("(")[0], lambda another: None)
    with pytest.raises(ImportError) as refused:
        check_internals(family)
    assert f"expected {line} in {place}, got {line.partition('(')[0]}(another)" in str(refused.value)
