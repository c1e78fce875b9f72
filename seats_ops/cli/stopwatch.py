"""Seconds of a block, and of some modules inside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch


class Stopwatch:
    """Seconds inside the block, and of these the seconds inside some modules; wall time unless given another clock."""

    def __init__(self, modules: list[torch.nn.Module], clock: Callable[[], float] | None = None) -> None:
        self.seconds = self.inside = 0.0
        self._now = clock or _now
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


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
