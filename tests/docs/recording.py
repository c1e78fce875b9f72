"""What pages and notebooks show is recorded: where it is run, and what of it differs from run to run."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SECONDS = re.compile(r"\b\d+\.\d+ ?s\b")
LEFT_OUT = ("PYTEST_", "TRITON_", "FORCE_COLOR", "COLUMNS")


def environment() -> dict[str, str]:
    """That of a shell in which this checkout is installed and its environment active; Hypothesis draws as in CI."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    return kept | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CI": "true"}


def tidy(text: str, folder: Path) -> str:
    """Seconds as `... s`, the folder it was run in as `~/mine`."""
    text = text.replace(str(folder.resolve()), "~/mine").replace(str(folder), "~/mine")
    return SECONDS.sub("... s", text)
