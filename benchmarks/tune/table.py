"""The file that tuning leaves: the table that `SEATS_OPS_TILES` names, and every time it was made of."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from benchmarks.tune.sweep import Row, best
from seats_ops.ops.tile_tables import FORMAT, device_kind, kernels

TRIES = 2
# What must not change between two runs that share a file.
SAME = ("versions", "revision", "dirty", "sources")


class TableFile:
    """Rows are added one at a time, and the file is always whole; an interrupted run is taken up where it stopped.

    Raises:
        ValueError: the file there is of another device, other versions or other sources, or no such file at all.
    """

    def __init__(self, path: Path, device: torch.device, rehearsed: bool) -> None:
        self.path, about = path, machine.describe(device)
        kind = device_kind(device) if device.type == "cuda" else "interpreter"
        self.content: dict[str, Any] = {
            "format": FORMAT,
            "device": {"kind": kind, "name": about["device"]},
            "rehearsed": rehearsed,
            "made_with": {**about, "kernels": kernels()},
            "tiles": {},
            "measured": {},
        }
        # What has begun and not ended: the entry, the values, what was said of them before.
        self._tried: tuple[str, dict[str, int], Row] | None = None
        if path.exists():
            self._take_up()

    def _take_up(self) -> None:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            identity, tried = _identity(found), (found["tiles"], found["measured"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path}: expected a file of `benchmarks tune`, got {error!r}") from error
        expected = _identity(self.content)
        if identity != expected:
            different = {
                name: (identity[name], expected[name]) for name in expected if identity[name] != expected[name]
            }
            words = "; ".join(
                f"{name}: found {found!r}, expected {mine!r}" for name, (found, mine) in different.items()
            )
            raise ValueError(f"{self.path}: measured under other conditions, name another --output: {words}")
        self.content["tiles"], self.content["measured"] = tried

    def rows(self, entry: str) -> list[Row]:
        """What has been measured of an entry, with what the process did not outlive twice: once may be chance."""
        return [row for row in self.content["measured"].get(entry, ()) if row.get("begun", TRIES) >= TRIES]

    def begin(self, entry: str, row: Row) -> None:
        """A candidate is about to be tried; what is written stays if the process ends under it."""
        earlier = next((x for x in self.content["measured"].get(entry, ()) if x["values"] == row["values"]), {})
        begun = earlier.get("begun", 0) + 1
        self.add(entry, {**row, "refused": "the process ended while it was tried", "begun": begun})
        self._tried = entry, row["values"], earlier

    def withdraw(self) -> None:
        """What has begun is as if it had not: it was not the candidate that ended it."""
        if self._tried is not None:
            entry, values, earlier = self._tried
            others = [x for x in self.content["measured"][entry] if x["values"] != values]
            self.content["measured"][entry] = [*others, earlier] if earlier else others
            self._write()

    def add(self, entry: str, row: Row) -> None:
        """One more candidate of an entry, in place of what was said of it before, on disk before this returns."""
        self._tried = None
        others = [x for x in self.content["measured"].get(entry, ()) if x["values"] != row["values"]]
        self.content["measured"][entry] = [*others, row]
        self._write()

    def best(self, entry: str, own: dict[str, int]) -> dict[str, int]:
        """The fastest values of an entry so far; the shipped ones unless others gain more than noise."""
        return best(self.rows(entry), own)

    def settle(self, entry: str, own: dict[str, int]) -> dict[str, int]:
        """Put the best values of an entry into the table, if they are not the shipped ones."""
        values = self.best(entry, own)
        self.content["tiles"].pop(entry, None)
        if values != own:
            self.content["tiles"][entry] = values
        self._write()
        return values

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        half = self.path.with_name(f"{self.path.name}.part")
        half.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        os.replace(half, self.path)


def _identity(content: dict[str, Any]) -> dict[str, Any]:
    made_with = content["made_with"]
    return {name: content[name] for name in ("format", "device", "rehearsed")} | {
        name: made_with.get(name) for name in SAME
    }
