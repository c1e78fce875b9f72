"""Modules build on each other in one direction."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def modules_in(root: Path) -> dict[str, Path]:
    """Name -> file, of both folders under the name that they are imported by."""
    found = {}
    for folder, name in (("seats_ops", "seats_ops"), ("integrations", "seats_ops.integrations")):
        for file in (root / folder).rglob("*.py"):
            parts = file.relative_to(root / folder).with_suffix("").parts
            found[".".join((name, *(part for part in parts if part != "__init__")))] = file
    return found


def imported(name: str, file: Path, known: set[str]) -> Iterator[str]:
    """Modules that one names, at its top, in a function or for types alone."""
    parts = name.split(".")
    package = parts if file.name == "__init__.py" else parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                module = f"{source}.{alias.name}"
                yield from (each for each in (module if module in known else source,) if each in known)


def graph_of(root: Path) -> dict[str, set[str]]:
    """That a module runs the `__init__` of the packages it is in is left out: those only gather names."""
    files = modules_in(root)
    return {name: set(imported(name, file, set(files))) - {name} for name, file in files.items()}


def test_modules_import_each_other_in_no_circle() -> None:
    graph = graph_of(ROOT)
    assert "seats_ops.inspector" in graph["seats_ops.trace.prune_trace"], "a method's own import counts"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # It tells a circle from what is imported to what imports.
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize(
    "line",
    [
        "import seats_ops.b",
        "from seats_ops import b",
        "from . import b",
        "from .b import name",
        "def f():\n    from seats_ops.b import name",
        "if TYPE_CHECKING:\n    from seats_ops.b import name",
    ],
)
def test_every_way_to_import_makes_a_circle(line: str, tmp_path: Path) -> None:
    (tmp_path / "seats_ops").mkdir()
    for name, text in (("__init__", ""), ("a", line), ("b", "from seats_ops.a import f")):
        (tmp_path / "seats_ops" / f"{name}.py").write_text(text)
    with pytest.raises(CycleError):
        TopologicalSorter(graph_of(tmp_path)).prepare()
