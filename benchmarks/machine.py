"""Where and with what a number was measured."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from seats_ops.cli.device import pick_device
from seats_ops.ops.tile_tables import VARIABLE

ROOT = Path(__file__).parent.parent
# What decides a number; a page is drawn anew from the numbers that are there.
SOURCES = ("seats_ops", "integrations", "benchmarks")
PAGES = "benchmarks/report"


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


def named(device: torch.device) -> str:
    """What an option calls it: the first GPU has no number."""
    return f"{device.type}:{device.index}" if device.index else device.type


def describe(device: torch.device, revision: str = "") -> dict[str, Any]:
    """Device, versions and the state of the sources.

    "dirty" if they differ from the revision; None where git cannot tell, then the revision is what the caller was told
    (`revision`). "sources" is a digest of the files themselves, so two trees can always be compared. "tiles" is the
    launch table: "shipped", or the user's file and its digest.
    """
    versions: dict[str, str | None] = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("triton", "transformers"):
        try:
            versions[name] = __import__(name).__version__
        except ImportError:
            versions[name] = None
    found = _git("rev-parse", "--short", "HEAD") if (ROOT / ".git").exists() else ""
    changed = (
        _git(
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--",
            *(f"{folder}/*.py" for folder in SOURCES),
            f":!{PAGES}",
        )
        if found
        else ""
    )
    return {
        "time": now(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "kind": device.type,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": versions,
        "revision": found or revision or None,
        "dirty": bool(changed) if found else None,
        "sources": sources(),
        "tiles": _tiles(device),
    }


def now() -> str:
    """ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def sources() -> str:
    """Twelve digits of the SHA-256 of everything that decides what is measured."""
    digest = hashlib.sha256()
    files = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    for path in sorted(path for path in files if ROOT / PAGES not in path.parents):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _tiles(device: torch.device) -> str:
    file = Path(os.environ.get(VARIABLE, "")) if device.type == "cuda" else Path()
    if file.name and not file.is_file():
        raise ValueError(f"{VARIABLE}: expected a JSON file of `benchmarks tune`, got {file.name}, which is none")
    return f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()[:12]}" if file.name else "shipped"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return run.stdout.strip()
