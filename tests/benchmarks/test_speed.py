"""The entries of `python -m benchmarks` at a small size, timed by pytest-benchmark in `make bench-small`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.entry import SMALL, builders

SIDES = {
    f"{entry.name}, {side}": run
    for build in builders().values()
    for entry in build(SMALL, torch.device("cpu"))
    for side, run in entry.sides.items()
}


@pytest.mark.benchmark(max_time=0.2, min_rounds=3)
@pytest.mark.parametrize("run", SIDES.values(), ids=SIDES.keys())
def test_speed(benchmark: Callable[..., Any], run: Callable[[], Any]) -> None:
    assert benchmark(run) is not None
