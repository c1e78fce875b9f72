"""The result file of one device: what is done, and what may be added to it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import now
from benchmarks.results import FORMAT, append, read

FILE = "results.jsonl"
# Rows of one file have these in common.
SAME = ("device", "kind", "versions", "sources", "tiles", "rehearsed")
DONE, FAILED = "done", "failed"


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else works into the folder while the block lasts; the system forgets whoever dies in it.

    Where the system or the file system knows no such locks, nobody is kept out.

    Raises:
        RuntimeError: somebody does. ValueError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output: expected a folder, got {folder}, which is none")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f"{folder}: found another run at work, expected none; name another folder") from error
        except OSError:
            pass
        yield
    finally:
        os.close(number)


class Record:
    """Rows of a folder. A step is one row, named "step/...", and those that it gave.

    Raises:
        ValueError: the file is of another format.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE
        self.rows: list[dict[str, Any]] = read(self.file) if self.file.exists() else []
        for row in self.rows:
            if row.get("format") != FORMAT:
                raise ValueError(f"{self.file}: found rows of format {row.get('format', 1)}, expected {FORMAT}")

    def refuse_others(self, context: dict[str, Any]) -> None:
        """Numbers of another device, version or source do not belong into the same file.

        Raises:
            ValueError: with what was found and what is there now.
        """
        for key in SAME:
            found = [row.get(key) for row in self.rows if row.get(key) != context[key]]
            if found:
                raise ValueError(
                    f"{self.file}: found rows with {key} {found[-1]}, expected {context[key]} as here and now; "
                    "name another folder (--name or --output), or remove this one"
                )

    def status(self) -> dict[str, str]:
        """DONE or FAILED by step, by its last attempt."""
        return {row["step"]: row["status"] for row in self.rows if row["name"].startswith("step/")}

    def tests(self) -> str:
        """What is written beside every number."""
        return tests_of(self.rows)

    def add(self, context: dict[str, Any], step: str, outcome: dict[str, Any]) -> None:
        """What a step gave, and that it was done; both or neither."""
        tests = (
            outcome["rows"] if step.startswith("tests/") else [{"tests": self.tests(), **r} for r in outcome["rows"]]
        )
        mark = {key: outcome[key] for key in ("status", "took", "error")}
        rows = [*tests, {"name": f"step/{step}", **mark}]
        whole = [{**context, "time": now(), "step": step, **row} for row in rows]
        append(self.file, *whole)
        self.rows += [{"format": FORMAT, **row} for row in whole]


def tests_of(rows: Iterable[dict[str, Any]]) -> str:
    """ "green", "red: ...", "unfinished: ..." or "not run", by the last row of every file of tests and its step."""
    last = {row["name"]: row for row in rows}
    seen = {name: row for name, row in last.items() if name.startswith("tests/")}
    failed = sum(row["failed"] for row in seen.values())
    if failed:
        return f"red: {failed} failed"
    broken = [row["step"] for name, row in last.items() if name.startswith("step/tests/") and row["status"] == FAILED]
    if broken:
        return f"unfinished: {', '.join(broken)}"
    return "green" if any(row["passed"] for row in seen.values()) else "not run"
