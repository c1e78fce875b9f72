"""Files of results: a line a chunk of items, added when it is done, of one revision."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.results import opened, refuse_another, write

KIND = "AV-recall items"
RIGHT, SAME, FOUND = 1, 2, 4
"""An item's outcome is a hexadecimal digit: the sum of these, FOUND times the objects and tones that were kept."""


class Ledger:
    """Results of one revision, which names all that they depend on; they are never mixed with those of another."""

    def __init__(self, path: Path, revision: dict[str, Any]) -> None:
        """Raises ValueError: the file is of another revision, or none of results."""
        self.path, self.revision = path, revision
        if path.exists():
            self._mend()
            refuse_another(f"{path}: results", read_revision(path), revision)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._add({"kind": KIND, "revision": revision})

    def _mend(self) -> None:
        """A line that an interruption cut short is taken away; its chunk is done again."""
        with self.path.open("rb+") as file:
            text = file.read()
            if not text.endswith(b"\n"):
                file.truncate(text.rfind(b"\n") + 1)

    def _add(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(row))
            file.flush()
            os.fsync(file.fileno())

    def done(self) -> dict[tuple[str, str, int], set[str]]:
        """Keys of the cells that are there, by model, task and chunk."""
        found: dict[tuple[str, str, int], set[str]] = {}
        for row in read_rows(self.path):
            found.setdefault((row["model"], row["task"], row["chunk"]), set()).update(row["cells"])
        return found

    def add(self, model: str, task: str, chunk: int, cells: dict[str, Any]) -> None:
        self._add({"model": model, "task": task, "chunk": chunk, "cells": cells})


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: expected a JSON object, got {line[:60]!r}") from error


def read_revision(path: Path) -> dict[str, Any]:
    """Of a file. Raises ValueError: it is none of results."""
    first = next(_lines(path), {})
    if first.get("kind") != KIND:
        raise ValueError(f"{path}: expected a file of {KIND}, got one that begins with {str(first)[:60]}")
    revision: dict[str, Any] = first["revision"]
    return revision


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Every chunk, in the order of the file."""
    rows = _lines(path)
    next(rows, None)
    yield from rows


def pack(path: Path, packed: Path) -> None:
    """A compressed copy, sorted, equal bytes for equal results."""
    rows = sorted(read_rows(path), key=lambda row: (row["model"], row["task"], row["chunk"], sorted(row["cells"])))
    head = {"kind": KIND, "revision": read_revision(path)}
    write(packed, "".join(_line(row) for row in [head, *rows]))


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":")) + "\n"
