"""What a day on a GPU consists of: parts in order of what they tell per second, each of a few steps."""

from __future__ import annotations

from benchmarks.gpu import capture, device, gpu_tests, kernels, parity, prefill, sanitizer
from benchmarks.gpu.steps import Setting, Step

PARTS = (device, gpu_tests, parity, kernels, capture, prefill, sanitizer)


def all_steps(setting: Setting) -> list[Step]:
    """In order."""
    return [step for part in PARTS for step in part.steps(setting)]
