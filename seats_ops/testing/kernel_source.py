"""What a kernel says, whatever its place in the file, its comments and its layout."""

from __future__ import annotations

import ast
import functools
import hashlib
from types import ModuleType
from typing import Any

import triton.language as tl
from triton.runtime.jit import JITFunction


@functools.cache
def source_hash(kernel: Any) -> str:
    """Of a `triton.jit` function: its code, all device functions it calls, and the constants of its module.

    Triton's own hash has line numbers and comments in it, with which no machine code changes.
    """
    parts: dict[str, str] = {}
    _collect(kernel, parts)
    return hashlib.sha256("\n".join(f"{name}: {parts[name]}" for name in sorted(parts)).encode()).hexdigest()


def _collect(function: Any, parts: dict[str, str]) -> None:
    tree = ast.parse(function.src)
    name = f"{function.fn.__module__}.{function.fn.__name__}"
    parts[name] = f"{_plain(_without_docstring(tree))} noinline={function.noinline}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            _follow(f"{function.fn.__module__}.{node.id}", function.fn.__globals__.get(node.id), parts)


def _follow(name: str, value: Any, parts: dict[str, str]) -> None:
    """What Triton's own functions do is known by its version."""
    if isinstance(value, JITFunction):
        known = f"{value.fn.__module__}.{value.fn.__name__}" in parts
        if not known and not value.fn.__module__.startswith("triton."):
            _collect(value, parts)
    elif isinstance(value, tl.constexpr | int | float | str | bool):
        parts[name] = repr(getattr(value, "value", value))
    elif isinstance(value, ModuleType) and not value.__name__.startswith("triton."):
        raise TypeError(f"{name}: expected device functions imported by name, got the module {value.__name__}")


def _plain(node: Any) -> Any:
    """A syntax tree as nested tuples. Empty fields are left out: what there is of them differs between Pythons."""
    if isinstance(node, list):
        return tuple(map(_plain, node))
    if not isinstance(node, ast.AST):
        return node
    held = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
    return (type(node).__name__, *((name, _plain(value)) for name, value in held))


def _without_docstring(tree: ast.Module) -> ast.Module:
    function = tree.body[0]
    if isinstance(function, ast.FunctionDef) and ast.get_docstring(function) is not None:
        function.body = function.body[1:] or [ast.Pass()]
    return tree
