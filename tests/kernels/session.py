"""pytest plugin for a session under Triton's interpreter (`-p tests.kernels.session`, with TRITON_INTERPRET=1).

Every call of a primitive that names no backend takes the kernel; outputs are poisoned, every access to memory is
watched, programs run in shuffled order, and Hypothesis draws fewer examples: the interpreter is slow.
"""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import settings

from seats_ops import functional

EXAMPLES = int(os.environ.get("SEATS_OPS_INTERPRETED_EXAMPLES", "12"))

LEFT_OUT = {
    "test_one_long_segment_among_many_short_ones": "400 programs of 40 passes each take minutes",
    "test_lengths_around_tile_edges[1025]": "takes a minute; 513 crosses as many edges",
    "test_lengths_around_tile_edges[2050]": "takes minutes",
    "test_sizes_that_are_worked_off_in_parts[one long window]": "takes a minute; tests of the kernel lower the limit",
    **{
        f"test_long_repairs[{case}-{seed}]": "two seeds of a case take seconds, six half a minute"
        for case in ("extreme-0.5", "peaked-0.9", "realistic-0.06", "peaked-0.02")
        for seed in range(2, 6)
    },
    "test_memory_layout_max_seqlen_and_inputs": "compares the default backend with the reference bit by bit",
}

_open = contextlib.ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("TRITON_INTERPRET") != "1":
        raise pytest.UsageError("TRITON_INTERPRET: expected 1 before Triton is imported")
    from seats_ops.testing.interpreter import program_order, repair_interpreter
    from seats_ops.testing.memory import watch_memory
    from seats_ops.testing.poison import poisoned_outputs

    repair_interpreter()
    for name in functional.__all__:
        getattr(functional, name).__kwdefaults__["backend"] = "triton"
    for safeguard in (poisoned_outputs(), watch_memory(), program_order("shuffled", seed=1)):
        _open.enter_context(safeguard)


def pytest_unconfigure(config: pytest.Config) -> None:
    _open.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if item.name in LEFT_OUT]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    for item in items:
        test = getattr(item, "obj", None)
        drawn = getattr(test, "_hypothesis_internal_use_settings", None)
        if drawn is not None:
            few = min(EXAMPLES, drawn.max_examples)
            test._hypothesis_internal_use_settings = settings(drawn, max_examples=few)
