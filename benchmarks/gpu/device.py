"""The device, what it can do at best, and what one launch costs."""

from __future__ import annotations

import functools
import os
import platform
from typing import Any

import torch

from benchmarks.ceilings import ceilings
from benchmarks.gpu.steps import Rows, Setting, Step
from benchmarks.idle import nvidia_smi
from benchmarks.timing import Clock, measure, spread

LAUNCHES = 1000

# Measured once in a process: every share of a ceiling is of the same.
ceilings_of = functools.cache(ceilings)


def steps(setting: Setting) -> list[Step]:
    return [
        Step("device/description", 2, lambda: [{"name": "device", **description(setting.device)}]),
        Step("device/ceilings", 8, lambda: _ceilings(setting)),
    ]


def description(device: torch.device) -> dict[str, Any]:
    """Of the device, its driver and the machine around it."""
    properties = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    return {
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": total,
        "memory_free_bytes": free,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "system": platform.platform(),
        "visible_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "nvidia_smi": nvidia_smi(device),
    }


def _ceilings(setting: Setting) -> Rows:
    """ "launch": seconds from one launch to the next where the host does nothing else."""
    one = torch.zeros(1, dtype=torch.float32, device=setting.device)

    def launch() -> None:
        for _ in range(LAUNCHES):
            one.add_(1)

    clock = Clock(setting.device, "wall", cold=False)
    seconds = measure([{"": launch}], setting.device, setting.repeats, clock)[""]
    launches = spread([each / LAUNCHES for each in seconds])
    return [{"name": "ceilings", **ceilings_of(setting.device), "launch": launches, "clock": clock.name}]
