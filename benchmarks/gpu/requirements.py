"""What a GPU and its environment must have before anything is run on them."""

from __future__ import annotations

import importlib
import importlib.util
import re

import torch
from packaging.version import Version

from benchmarks.gpu.device import nvidia_smi
from seats_ops.floors import FLOORS
from seats_ops.integrations.versions import FLOOR

GIB = 2**30
# Weights and activations of the narrowest model, and the inputs of the stages.
LEAST_FREE = 8 * GIB
# What the driver and our own context take of an idle device, with room to spare.
IDLE_USE = 2 * GIB
IDLE_PERCENT = 10


def floors() -> dict[str, str]:
    """The oldest version of what the kernels and adapters stand on."""
    return {**FLOORS, "transformers": FLOOR}


def old_versions() -> list[str]:
    """What is missing or too old, each with what was found and what was expected."""
    found = []
    for name, floor in floors().items():
        version = importlib.import_module(name).__version__ if importlib.util.find_spec(name) else None
        if version is None or Version(version).release < Version(floor).release:
            found.append(f"{name}: found {version or 'none'}, expected {floor} or newer (pyproject.toml)")
    return found


def unfit(device: torch.device) -> list[str]:
    """Why measuring on this device now would be in vain or in somebody's way."""
    utilisation = nvidia_smi(device).get("utilization.gpu", "")
    free, total = torch.cuda.mem_get_info(device)
    said = []
    if free < LEAST_FREE:
        said.append(f"memory: found {free / GIB:.1f} of {total / GIB:.0f} GiB free, expected {LEAST_FREE / GIB:.0f}")
    used = total - free - torch.cuda.memory_reserved(device)
    if used > IDLE_USE:
        said.append(f"device: found {used / GIB:.1f} GiB in use by others, expected an idle one")
    percent = re.match(r"\d+", utilisation)
    if percent and int(percent.group()) > IDLE_PERCENT:
        said.append(f"device: found it busy {percent.group()} % of the time, expected an idle one")
    return said
