"""What a comparison found: what `compare` returns, and a page shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seats_ops.compare.overall import Mean
from seats_ops.compare.records import PromptRecord


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        records: one per prompt that could be run, the worst first.
        failed: one per prompt that could not, with the error.
        overall: schedule -> metric -> `Mean` over the prompts (`seats_ops.compare.METRICS`).
        differences: the same of every further schedule minus the first, prompt by prompt.
        clock: what the seconds are, and on which machine.
        notes: what else there is to say of all numbers.
        page: where it can be looked at; None if no folder was given.

    Example:
        >>> from seats_ops.compare import Comparison
        >>> Comparison([], [], {}, {}, "CPU time").to_dict()["notes"]
        ()
    """

    records: list[PromptRecord]
    failed: list[PromptRecord]
    overall: dict[str, dict[str, Mean]]
    differences: dict[str, dict[str, Mean]]
    clock: str
    notes: tuple[str, ...] = ()
    page: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON.

        Example:
            >>> Comparison([], [], {}, {}, "CPU time").to_dict()["page"] is None
            True
        """
        return {**asdict(self), "page": None if self.page is None else str(self.page)}
