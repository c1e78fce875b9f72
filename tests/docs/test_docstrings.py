"""Every public name has an example in its docstring, and the examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import pytest
import torch

from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.prompts import Text, Video, build_prompt

MODULES = tuple(
    importlib.import_module(f"seats_ops{name}")
    for name in (
        "",
        ".functional",
        ".compare",
        ".cost",
        ".horizon",
        ".integrations",
        ".inspector",
        ".methods",
        ".testing",
    )
)
PUBLIC: dict[str, Any] = {module.__name__: module for module in MODULES} | {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in MODULES
    for name in module.__all__
    if not isinstance(getattr(module, name), ModuleType | str | dict | tuple)  # constants have no docstring
}


def methods_of(item: object) -> Iterator[tuple[str, Any]]:
    """What a public class defines under public names. Properties and what a protocol asks for are explained by it."""
    if inspect.isclass(item) and not getattr(item, "_is_protocol", False):
        for name, value in vars(item).items():
            function = getattr(value, "__func__", value)
            if not name.startswith("_") and inspect.isfunction(function):
                yield name, function


def examples_of(item: Any) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(inspect.getdoc(item) or "")


@pytest.fixture(scope="module")
def reader_has() -> dict[str, Any]:
    """The model and the processed prompt that docstrings of adapters speak of."""
    model = small_thinker(text={"num_hidden_layers": 28})
    return {
        "model": model,
        "inputs": build_prompt(model.config, Text(9), Video((4, 4, 6), 1.0, mel_frames=430), Text(7)),
    }


def run(name: str, item: Any, names: dict[str, Any]) -> None:
    """Run the examples of a docstring; `names` gets what they define."""
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    test = doctest.DocTest(examples_of(item), names, name, None, None, None)
    test.globs = names
    runner.run(test, out=told.append, clear_globs=False)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)


@pytest.mark.parametrize("name", PUBLIC)
def test_examples_run(name: str, reader_has: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example imports what it uses; those of methods go on where that of their class ends."""
    monkeypatch.chdir(tmp_path)
    names, grad_enabled = dict(reader_has), torch.is_grad_enabled()
    try:
        with matplotlib.rc_context({"backend": "Agg"}):
            run(name, PUBLIC[name], names)
            for method, function in methods_of(PUBLIC[name]):
                run(f"{name}.{method}", function, dict(names))
    finally:
        torch.set_grad_enabled(grad_enabled)


def test_every_public_name_has_an_example() -> None:
    parts = {f"{name}.{part}": value for name, item in PUBLIC.items() for part, value in methods_of(item)}
    assert [name for name, item in (PUBLIC | parts).items() if not examples_of(item)] == []


def test_examples_are_short_and_their_lines_stand_under_a_heading() -> None:
    """An introduction has prose between its examples instead."""
    for name, item in PUBLIC.items():
        text = inspect.getdoc(item) or ""
        if name != "seats_ops":
            assert text.count("\nExample:\n    >>> ") == 1, name
            assert sum(example.source.count("\n") for example in examples_of(item)) <= 13, name
