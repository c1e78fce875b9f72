"""What versions there must be before anything is run on a GPU."""

from __future__ import annotations

import importlib.util

from seats_ops.floors import FLOORS, old_triton
from seats_ops.integrations.huggingface.guards.versions import check_transformers


def old_versions() -> list[str]:
    """What is missing or too old, each with what was found and what was expected. An old torch ends every import."""
    said = []
    if importlib.util.find_spec("triton") is None:
        said.append(f"triton: expected a version >={FLOORS['triton']}, got none")
    else:
        said += [old] if (old := old_triton()) else []
    try:
        check_transformers()
    except ImportError as error:
        said.append(str(error))
    return said
