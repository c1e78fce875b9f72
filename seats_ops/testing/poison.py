"""Uninitialised memory that shows: NaN in floats, the largest number in integers, True in booleans."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def poisoned_outputs() -> Iterator[None]:
    """Fill whatever `torch.empty` and its relatives return inside the block, on every device.

    A kernel that leaves part of its output unwritten often passes its tests, because fresh memory tends to be zero or
    to hold the right answer of the call before. PyTorch can fill it for us: that is part of its deterministic mode.
    """
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    # The module hides this switch from type checkers.
    switch: Any = torch.utils.deterministic
    filled = switch.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    switch.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        switch.fill_uninitialized_memory = filled
