"""Where and with what a number was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from seats_ops.cli.model import pick_device

ROOT = Path(__file__).parent.parent
SOURCES = ("seats_ops", "integrations", "benchmarks/*.py")


def place(device: str) -> torch.device:
    """One thread on a CPU: what threads add differs from moment to moment on a shared machine."""
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and os.environ.get("TRITON_INTERPRET") == "1":
        raise RuntimeError("TRITON_INTERPRET: expected unset on a GPU, got 1: time in the interpreter is no speed")
    chosen = pick_device(name)
    if chosen.type == "cpu":
        torch.set_num_threads(1)
    else:
        torch.cuda.set_device(chosen)
    return chosen


def describe(device: torch.device) -> dict[str, Any]:
    """Device, versions and the state of the sources; "dirty" if they differ from the revision."""
    versions: dict[str, str | None] = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("triton", "transformers"):
        try:
            versions[name] = __import__(name).__version__
        except ImportError:
            versions[name] = None
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": versions,
        "revision": _git("rev-parse", "--short", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no", "--", *SOURCES)),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip()
