"""Primitives and stages beside what users would write instead: the rows of `python -m benchmarks run`."""

from __future__ import annotations

import functools

from benchmarks.entry import Builder, builders
from benchmarks.gpu.device import ceilings_of
from benchmarks.gpu.steps import Rows, Setting, Step
from benchmarks.primitives import inputs_of, row_of
from benchmarks.timing import Clock

SECONDS = {"attention_received": 20, "max_min_diversity": 25, "stage_one": 25}


def steps(setting: Setting) -> list[Step]:
    return [
        Step(f"kernels/{name}", SECONDS.get(name, 10), functools.partial(_rows, build, setting))
        for name, build in builders().items()
    ]


def _rows(build: Builder, setting: Setting) -> Rows:
    clock, best = Clock(setting.device), ceilings_of(setting.device)
    common = {"size": setting.size.name, "ceilings": best}
    return [
        {**common, **row_of(inputs, build, setting.size, clock, setting.repeats, best)}
        for inputs in inputs_of(build, setting.size, setting.device)
    ]
