"""A file of records that is added to as they are made, so that a run that ends early loses nothing it has measured."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from seats_ops.compare.records import PromptRecord

FORMAT = 1
BEGINNING = f'{{"format": {FORMAT}, '


class Journal:
    """JSON lines: what was asked for, then a record per prompt; of several of one name the last counts.

    Args:
        path: opened to be added to, and made where there is none.
        settings: what decides the numbers; those of a file that is there must be the same.

    Raises:
        ValueError: the file is not a journal, or one of other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.records: dict[str, PromptRecord] = {}
        # What a comparison of values after JSON is for: tuples become lists.
        settings = json.loads(json.dumps({"format": FORMAT, **settings}))
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        # The last line may be cut off: a process was killed, or a disk was full.
        whole = text[: text.rfind("\n") + 1]
        if whole or not BEGINNING.startswith(text[: len(BEGINNING)]):
            self._read(text, whole, settings)
        else:
            path.write_text("")
            self._write(settings)

    def _read(self, text: str, whole: str, settings: dict[str, Any]) -> None:
        try:
            first, *lines = [json.loads(line) for line in whole.splitlines()]
            if not isinstance(first, dict) or first.get("format") != FORMAT:
                raise ValueError(f"its first line is {str(first)[:60]}")
            records = [PromptRecord.from_dict(line) for line in lines]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{self.path}: expected an earlier comparison, got another file ({error})") from error
        differing = sorted(name for name in {*first, *settings} if first.get(name) != settings.get(name))
        if differing:
            was = "; ".join(f"{name} {_short(first.get(name))}, now {_short(settings.get(name))}" for name in differing)
            raise ValueError(f"{self.path}: expected a comparison with the same settings, got one with {was}")
        if whole != text:
            os.truncate(self.path, len(whole.encode()))
        self.records = {record.name: record for record in records}

    def add(self, record: PromptRecord) -> None:
        """Write it down; it is on the disk when this returns. Raises OSError."""
        self._write(record.to_dict())
        self.records[record.name] = record

    def _write(self, line: dict[str, Any]) -> None:
        before = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            # Half a line in the middle would make a file of all that is added later that nobody can read.
            if self.path.exists():
                os.truncate(self.path, before)
            raise OSError(error.errno, error.strerror, str(self.path)) from error


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
