"""Seconds of several ways to do the same work, taking turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

# Twice the last-level cache of any GPU we name: an MI300X has 256 MiB.
FLUSH_BYTES = 512 * 2**20


Sides = dict[str, Callable[[], Any]]


def measure(inputs: Sequence[Sides], device: torch.device, repeats: int) -> dict[str, list[float]]:
    """One warm-up each, then `repeats` rounds in which every side has its turn, each round with the next of `inputs`.

    On a CPU the seconds are those the process spent computing, with however many threads torch was given, so that
    neighbours on a shared machine count less. On a GPU they are measured by events, with a cold L2 cache.
    """
    for sides in inputs:
        for run in sides.values():
            run()
    clock = _on_cpu if device.type == "cpu" else _Events(device)
    seconds: dict[str, list[float]] = {name: [] for name in inputs[0]}
    for turn in range(repeats):
        for name, run in inputs[turn % len(inputs)].items():
            seconds[name].append(clock(run))
    return seconds


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and 20th and 80th percentile."""
    if len(seconds) == 1:
        return {"median": seconds[0], "p20": seconds[0], "p80": seconds[0]}
    cuts = statistics.quantiles(seconds, n=5, method="inclusive")
    return {"median": statistics.median(seconds), "p20": cuts[0], "p80": cuts[-1]}


def _on_cpu(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


class _Events:
    def __init__(self, device: torch.device) -> None:
        self.flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device=device)

    def __call__(self, run: Callable[[], Any]) -> float:
        self.flush.zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3
