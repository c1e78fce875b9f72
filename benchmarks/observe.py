"""What a call does on a GPU, seen there: kernels, launches, waits of the host."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

# What torch says in sync debug mode.
WAITS = "called a synchronizing CUDA operation"


def kernels(run: Callable[[], Any], device: torch.device) -> list[tuple[str, float]]:
    """Name and seconds of everything that the device did, copies and fills included, by torch's profiler (CUPTI)."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize(device)
    # Not `events()`: that builds an object of Python's for each of what may be hundreds of thousands.
    return on_device(profiler.profiler.kineto_results.events())


def on_device(events: Any) -> list[tuple[str, float]]:
    """Of a profile's events those of the device; ranges that only name others are left out."""
    return [
        (event.name(), event.duration_ns() / 1e9)
        for event in events
        if event.device_type() == DeviceType.CUDA and not event.is_user_annotation()
    ]


def launches(done: list[tuple[str, float]]) -> int:
    """How many of them are kernels."""
    return sum(not name.startswith(("Memcpy", "Memset")) for name, _ in done)


def pageable(done: list[tuple[str, float]]) -> int:
    """How many copies come from memory that is not pinned: the host waits for them, and sync debug mode may not say."""
    return sum("Pageable" in name for name, _ in done)


def host_waits(run: Callable[[], Any]) -> int:
    """How often the host waits for the device, as torch's sync debug mode sees it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum(WAITS in str(warning.message) for warning in said)
