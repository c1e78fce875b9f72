"""Seconds of several ways to do the same work, taking turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.graphs import NotCapturable, captured
from benchmarks.observe import kernels
from seats_ops.ops.launch import count_launches

# Twice the last-level cache of any GPU we name: an MI300X has 256 MiB.
FLUSH_BYTES = 512 * 2**20
# Of a graph with a warm cache: one alone would be mostly its own launch.
REPLAYS = 20
KINDS = ("events", "wall", "graph", "profiler")

Sides = dict[str, Callable[[], Any]]


class OtherKernels(NotCapturable):
    """A capture launches other kernels of ours than the call does, so a replay's time would be that of other work."""


def same_work(run: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
    """`captured`, of a call that does during a capture what it does elsewhere.

    Raises:
        OtherKernels: with both lists of kernels. NotCapturable: as `captured`.
    """
    calls: list[list[str]] = []

    def counted() -> Any:
        with count_launches() as names:
            result = run()
        calls.append(names)
        return result

    counted()
    graph, result = captured(counted)
    if calls[0] != calls[-1]:
        called, recorded = (", ".join(names) or "none" for names in (calls[0], calls[-1]))
        raise OtherKernels(f"a capture takes other kernels: found {recorded}, expected {called} as in a call")
    return graph, result


class Clock:
    """A way to measure; its name goes into every row.

    On a CPU "process time": what the process spent computing, with however many threads torch was given, so that
    neighbours on a shared machine count less. On a GPU one of KINDS:

    - "events": between two events around the call, launches that the device waits for included.
    - "wall": what a caller waits for, from the call until the device is done.
    - "graph": replays of a CUDA graph, kernels and nothing else.
    - "profiler": the kernels' own times, added up.

    Args:
        device: where the work runs.
        kind: one of KINDS; None is "events" on a GPU.
        cold: every measurement starts with an L2 cache that holds nothing of use.

    Raises:
        ValueError: a kind that this device has not.
    """

    def __init__(self, device: torch.device, kind: str | None = None, *, cold: bool = True) -> None:
        known = (None,) if device.type == "cpu" else (None, *KINDS)
        if kind not in known:
            wanted = "none: a CPU has one clock" if device.type == "cpu" else f"one of {', '.join(KINDS)}"
            raise ValueError(f"clock: got {kind!r}, expected {wanted}")
        self.kind = "process" if device.type == "cpu" else kind or "events"
        self.device, self.cold = device, cold
        self.name = "process time" if device.type == "cpu" else f"{self.kind}, {'cold' if cold else 'warm'} L2"
        self._flush: torch.Tensor | None = None

    def prepare(self, run: Callable[[], Any]) -> Callable[[], float]:
        """Warm up; what it returns measures once.

        Raises:
            NotCapturable: for "graph"; OtherKernels where a graph would hold another way to do the work.
        """
        if self.kind == "graph":
            graph, _ = same_work(run)
            run = graph.replay
        else:
            run()
        return lambda: float(getattr(self, f"_{self.kind}")(run))

    def _empty_cache(self) -> None:
        if self.cold:
            if self._flush is None:
                self._flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device=self.device)
            self._flush.zero_()

    def _process(self, run: Callable[[], Any]) -> float:
        start = time.process_time()
        run()
        return time.process_time() - start

    def _wall(self, run: Callable[[], Any]) -> float:
        self._empty_cache()
        torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        run()
        torch.cuda.synchronize(self.device)
        return time.perf_counter() - start

    def _events(self, run: Callable[[], Any], times: int = 1) -> float:
        self._empty_cache()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(times):
            run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3 / times

    def _graph(self, replay: Callable[[], Any]) -> float:
        return self._events(replay, 1 if self.cold else REPLAYS)

    def _profiler(self, run: Callable[[], Any]) -> float:
        self._empty_cache()
        torch.cuda.synchronize(self.device)
        return sum(seconds for _, seconds in kernels(run, self.device))


def measure(
    inputs: Sequence[Sides], device: torch.device, repeats: int, clock: Clock | None = None
) -> dict[str, list[float]]:
    """One warm-up each, then `repeats` rounds in which every side has its turn, each with the next of `inputs`.

    Raises:
        NotCapturable: by the clock "graph", naming the side.
    """
    clock = clock or Clock(device)
    ready: list[dict[str, Callable[[], float]]] = []
    for sides in inputs:
        ready.append({})
        for name, run in sides.items():
            try:
                ready[-1][name] = clock.prepare(run)
            except NotCapturable as error:
                raise NotCapturable(f"{name}: {error}; another clock can time it") from error
    seconds: dict[str, list[float]] = {name: [] for name in inputs[0]}
    for turn in range(repeats):
        for name, once in ready[turn % len(ready)].items():
            seconds[name].append(once())
    return seconds


def spread(seconds: list[float]) -> dict[str, Any]:
    """Median, 20th and 80th percentile, and the measurements themselves."""
    cuts = statistics.quantiles(seconds, n=5, method="inclusive") if len(seconds) > 1 else seconds
    return {"median": statistics.median(seconds), "p20": cuts[0], "p80": cuts[-1], "raw": seconds}
