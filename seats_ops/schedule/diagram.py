"""A schedule as a picture of lines: which stage acts where, and on which layers its tokens run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from html import escape
from typing import Any


def lines(stages: list[tuple[int, Any]]) -> list[tuple[str, str]]:
    """(where, what) from the prompt to the answer, for the (layer, stage) pairs of a schedule."""
    found, last = [("prompt", "all tokens")], 0
    for layer, stage in stages:
        if layer > last:
            found.append((f"layers {last + 1} to {layer}" if layer > last + 1 else f"layer {layer}", ""))
            last = layer
        found.append((f"after layer {layer}" if layer else "before the LLM", settings(stage)))
    return [*found, (f"layers {last + 1} to the last", "")]


def settings(stage: Any) -> str:
    """A stage with what of it is not the default."""
    if not is_dataclass(stage):
        return type(stage).__name__
    said = []
    for item in fields(stage):
        value = getattr(stage, item.name)
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if not _same(value, default):
            said.append(_plain(value) if item.name == "keep_ratio" else f"{item.name}={_plain(value)}")
    return f"{type(stage).__name__}({', '.join(said)})"


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{_plain(name)} {_plain(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return " + ".join(map(_plain, value)) if len(value) <= 4 else f"[{len(value)} entries]"
    if is_dataclass(value):
        return settings(value)
    return getattr(value, "name", None) or str(value)


def text(stages: list[tuple[int, Any]]) -> str:
    """In a terminal."""
    found = lines(stages)
    width = max(len(where) for where, what in found if what)
    return "\n".join(f"{'*' if what else '|'} {where.ljust(width)}  {what}".rstrip() for where, what in found)


def html(stages: list[tuple[int, Any]]) -> str:
    """In a notebook."""
    cell = '<td style="text-align:left">'
    rows = "".join(
        f"<tr>{cell}{'&#9679;' if what else '&#9474;'}</td>{cell}{escape(where)}</td>"
        f"{cell}<code>{escape(what)}</code></td></tr>"
        for where, what in lines(stages)
    )
    return f"<table>{rows}</table>"
