"""Numbers as they are printed, and tables of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

REHEARSED = "(rehearsed)"
NOTHING = "–"


class Times:
    """Prints times; those of a rehearsal are no times, and none is shown."""

    def __init__(self, rehearsed: bool) -> None:
        self.rehearsed = rehearsed

    def ms(self, seconds: float | None) -> str:
        if seconds is None:
            return NOTHING
        return REHEARSED if self.rehearsed else significant(1e3 * seconds)

    def share(self, value: float | None) -> str:
        """Of something that is, or was divided by, a time."""
        if value is None:
            return NOTHING
        return REHEARSED if self.rehearsed else f"{value:.1%}"

    def ratio(self, value: float | None) -> str:
        if value is None:
            return NOTHING
        return REHEARSED if self.rehearsed else f"{value:.2f}x"


def significant(value: float) -> str:
    """Three digits, and never fewer than a number has before its point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)
