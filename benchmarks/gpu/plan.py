"""What a run is asked to do, where it writes, and what is left of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.record import FAILED, Record
from benchmarks.gpu.worker import Options
from benchmarks.machine import ROOT
from benchmarks.results import RESULTS

BUDGET = 540.0
"""Seconds: nine minutes."""


@dataclass
class Plan:
    """What is to be done.

    Attributes:
        name: of the folder, if `output` is not the folder itself; the device's by default.
        parts: of these parts or steps; empty is all.
        again: also what is done already.
        budget: seconds from now on.
    """

    options: Options
    name: str = ""
    output: Path | None = None
    parts: Sequence[str] = ()
    again: bool = False
    budget: float = BUDGET

    def folder(self, context: dict[str, Any]) -> Path:
        """A rehearsal's is one that nobody commits."""
        if self.output is not None:
            return self.output
        if self.options.rehearse:
            return ROOT / "build" / "gpu-rehearsal"
        name = re.sub(r"\W+", "-", self.name or context["device"]).strip("-").lower()
        return RESULTS / f"gpu-{name}"

    def command(self, step: str) -> str:
        """What does this step once more, into the same folder."""
        given = {"--name": self.name, "--output": self.output, "--revision": self.options.revision}
        if self.options.device != Options.device:
            given["--device"] = self.options.device
        flags = {"--rehearse": self.options.rehearse, "--anyway": self.options.anyway}
        words = [f"{option} {shlex.quote(str(value))}" for option, value in given.items() if value]
        words += [flag for flag, wanted in flags.items() if wanted]
        return " ".join(["python -m benchmarks gpu --part", step, "--again", *words])

    def asked(self, known: Sequence[str]) -> list[str]:
        """The steps of `parts`, in the order of `known`.

        Raises:
            ValueError: nobody knows such a part.
        """
        for part in self.parts:
            if not any(within(name, part) for name in known):
                parts = dict.fromkeys(name.partition("/")[0] for name in known)
                raise ValueError(f"--part: got {part}, expected one of {', '.join({**parts, **dict.fromkeys(known)})}")
        return [name for name in known if not self.parts or any(within(name, part) for part in self.parts)]

    def left(self, asked: list[str], record: Record) -> list[str]:
        """What was never done before what failed; what is done is not among them."""
        if self.again:
            return list(asked)
        status = record.status()
        return [n for n in asked if n not in status] + [n for n in asked if status.get(n) == FAILED]


def within(name: str, part: str) -> bool:
    """Whether a step is of a part, or the step itself."""
    return name == part or name.startswith(f"{part}/")


def siblings(name: str, among: Sequence[str]) -> list[str]:
    """The steps that do the same on other data: "parity/compact/float32" has one for every dtype."""
    group = name.rpartition("/")[0]
    return [other for other in among if "/" in group and within(other, group)]
