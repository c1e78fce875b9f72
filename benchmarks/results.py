"""Files of JSON lines, compressed where the name ends in .gz: rows are added, never changed."""

from __future__ import annotations

import gzip
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from seats_ops.files import write_whole

RESULTS = Path(__file__).parent / "results"
FORMAT = 2
"""Since 2 every timing holds its single measurements, as "raw"; older rows have no number."""


def append(path: Path, *rows: dict[str, Any]) -> None:
    """All of the rows or, whatever happens meanwhile, none; makes the folder and the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = _text(path) if path.exists() else ""
    write(path, before + "".join(json.dumps({"format": FORMAT, **row}) + "\n" for row in rows))


def write(path: Path, text: str) -> None:
    """The whole file, equal bytes for equal text."""
    write_whole(path, gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text)


def opened(path: Path) -> TextIO:
    """To read it line by line."""
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _text(path: Path) -> str:
    with opened(path) as file:
        return file.read()


def refuse_another(
    said: str,
    found: Mapping[str, Any],
    here: Mapping[str, Any],
    whose: str = "here",
    mend: str = "choose another place with --output, or remove the file",
) -> None:
    """Results of different revisions are never mixed.

    Raises:
        ValueError: what is said (a file's results, an item that is), the first thing that differs, and how to go on.
    """
    for key in {**found, **here}:
        if found.get(key) != here.get(key):
            raise ValueError(
                f"{said} of another revision, never mixed: {key} is {found.get(key)}, {whose} {here.get(key)}; {mend}"
            )


def into(output: Path, default: Path) -> str:
    """The option of a command that writes elsewhere than it would by itself."""
    return "" if output == default else f" --output {shlex.quote(str(output))}"


def read(path: Path) -> list[dict[str, Any]]:
    """Every row.

    Raises:
        ValueError: naming the line that is no row, or one of a format that is not known.
    """
    rows = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                row = None
            if not isinstance(row, dict) or not isinstance(row.get("name"), str):
                raise ValueError(f"{path}, line {number}: expected a JSON object with a name, got {line[:60]!r}")
            if row.get("format", 1) not in (1, FORMAT):
                raise ValueError(f"{path}, line {number}: expected format 1 or {FORMAT}, got {row['format']!r}")
            rows.append(row)
    return rows


def require(path: Path, rows: Iterable[dict[str, Any]], *fields: str) -> None:
    """Every row says these of where it was measured.

    Raises:
        ValueError: naming the row and the field.
    """
    for row in rows:
        missing = [field for field in fields if field not in row]
        if missing:
            raise ValueError(f"{path}: row {row['name']}: expected {', '.join(fields)}, found no {', '.join(missing)}")


def latest(path: Path) -> dict[str, dict[str, Any]]:
    """The last row of every name and width, of the device and the size of the last line that has one."""
    rows = read(path)
    require(path, rows, "device")
    size = next((row["size"] for row in reversed(rows) if "size" in row), None)
    same = [row for row in rows if row["device"] == rows[-1]["device"] and row.get("size", size) == size]
    return {row["name"] + (f", width {row['width']}" if "width" in row else ""): row for row in same}


def timings(row: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[float]]]:
    """Every timing in a row, however deep: the keys that lead to it, and its single measurements in seconds."""
    if isinstance(row, dict):
        if "raw" in row:
            yield path, row["raw"]
        for key, value in row.items():
            yield from timings(value, (*path, key))
