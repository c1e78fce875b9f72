"""What a GPU and its environment must have before anything is run on them."""

from __future__ import annotations

import importlib.util
import re

import torch

from benchmarks.gpu.device import nvidia_smi
from seats_ops.floors import FLOORS, old_triton
from seats_ops.integrations.versions import check_transformers

GIB = 2**30
# Weights and activations of the narrowest model, and the inputs of the stages.
LEAST_FREE = 8 * GIB
# What the driver and our own context take of an idle device, with room to spare.
IDLE_USE = 2 * GIB
IDLE_PERCENT = 10


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
