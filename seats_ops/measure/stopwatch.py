"""Seconds of a block, and of some modules inside it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import torch


class Stopwatch:
    """Seconds of `clock` inside the block, and of these the seconds inside some modules."""

    def __init__(self, modules: list[torch.nn.Module], clock: Callable[[], float]) -> None:
        self.seconds = self.inside = 0.0
        self._now = clock
        self._modules = modules
        self._handles: list[Any] = []
        self._start = 0.0

    def __enter__(self) -> Stopwatch:
        # Last before a module and first after it: what other hooks on it do is not its own time.
        for module in self._modules:
            self._handles.append(module.register_forward_pre_hook(self._enter_module))
            self._handles.append(module.register_forward_hook(self._leave_module, prepend=True))
        self.seconds = -self._now()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds += self._now()
        for handle in self._handles:
            handle.remove()

    def _enter_module(self, module: torch.nn.Module, args: Any) -> None:
        self._start = self._now()

    def _leave_module(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        self.inside += self._now() - self._start


def now(device: torch.device) -> float:
    """Seconds on the clock of a device: what the process has spent computing, or the time once a GPU is done."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def said_of(device: torch.device) -> str:
    """Which clock `now` reads, and where."""
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"CPU time of {threads} thread{'s' * (threads > 1)}, {platform.system()} {platform.machine()}"
    return f"time on {torch.cuda.get_device_name(device)}, until it is done"
