"""Files of JSON lines: numbers are added, never changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def append(path: Path, row: dict[str, Any]) -> None:
    """One more line; makes the folder and the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def latest(path: Path) -> dict[str, dict[str, Any]]:
    """The last row of every name, of the device and the size that the last line is of."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    same = [row for row in rows if all(row.get(key) == rows[-1].get(key) for key in ("device", "size"))]
    return {row["name"]: row for row in same}
