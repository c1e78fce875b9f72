"""How pictures look."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

# Paul Tol's bright scheme: told apart with any colour vision.
BLUE, RED, GREEN, YELLOW, CYAN, PURPLE, GREY = (
    *("#4477AA", "#EE6677", "#228833", "#CCBB44"),
    *("#66CCEE", "#AA3377", "#BBBBBB"),
)
INK = "#222222"


def where(rows: Iterable[dict[str, Any]]) -> str:
    """Device, versions and revisions, for a title."""
    rows = list(rows)
    row = rows[-1]
    threads = "" if row.get("kind") == "cuda" else f", {row['threads']} thread(s)"
    revision = ", ".join(dict.fromkeys(str(r.get("revision") or f"sources {r.get('sources')}") for r in rows))
    return f"{row['device']}{threads}, torch {row['versions']['torch']}, {revision}"


def save(figure: Any, target: Path, title: str, rehearsed: bool) -> None:
    """A rehearsal is told from anything else at first sight."""
    figure.suptitle(title, fontsize=10)
    if rehearsed:
        figure.text(0.5, 0.5, "REHEARSAL\nnot measured", fontsize=48, color=RED, alpha=0.6, ha="center", va="center")
    figure.savefig(target, dpi=130)
    pyplot.close(figure)
