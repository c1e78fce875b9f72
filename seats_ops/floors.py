"""The oldest torch and Triton that this package runs with. Importing this refuses an older torch."""

from __future__ import annotations

import functools
import re

import torch

FLOORS = {"torch": "2.11", "triton": "3.6"}


def too_old(name: str, version: str) -> str | None:
    """What is wrong with a version of "torch" or "triton", or None. Builds of vendors count by their numbers alone."""
    found, floor = (tuple(map(int, re.findall(r"\d+", number)[:2])) for number in (version, FLOORS[name]))
    return None if found >= floor else f"{name}: expected a version >={FLOORS[name]}, got {version}"


@functools.cache
def old_triton() -> str | None:
    """What is wrong with the installed Triton, or None."""
    import triton

    return too_old("triton", triton.__version__)


if _old := too_old("torch", torch.__version__):
    raise ImportError(_old)
