"""Whether a GPU is one's own: what its driver says of it, and why measuring on it would be in vain."""

from __future__ import annotations

import re
import subprocess
import sys

import torch

GIB = 2**30
# Weights and activations of the narrowest model, and the inputs of the stages.
LEAST_FREE = 8 * GIB
# What the driver and our own context take of an idle device, with room to spare.
IDLE_USE = 2 * GIB
IDLE_PERCENT = 10
ASKED = ("driver_version", "utilization.gpu", "clocks.sm", "clocks.max.sm", "power.limit", "temperature.gpu")


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


def busy(device: torch.device) -> dict[str, list[str]]:
    """What rows say of a GPU that is not, and the terminal too; nothing of a CPU."""
    reasons = unfit(device) if device.type == "cuda" else []
    for reason in reasons:
        print(f"{reason}: times are not what this device can do", file=sys.stderr)
    return {"anyway": reasons} if reasons else {}


def nvidia_smi(device: torch.device) -> dict[str, str]:
    """What the driver's own tool says of the device; nothing where the tool is missing or does not know it."""
    # Its numbers do not follow CUDA_VISIBLE_DEVICES; the identifier does.
    identifier = getattr(torch.cuda.get_device_properties(device), "uuid", device.index)
    which = f"GPU-{identifier}" if not isinstance(identifier, int) else str(identifier)
    command = ["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader", "-i", which]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(ASKED, (value.strip() for value in run.stdout.split(",")), strict=False))
