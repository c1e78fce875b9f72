"""A CUDA device as far as code on a machine without one can go: the checks of the real calls, tensors on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.cuda._utils import _get_device_index
from torch.overrides import TorchFunctionMode

COUNT, CURRENT = 2, 1


class OnTheCpu(TorchFunctionMode):
    """Whoever asks for a tensor on an existing CUDA device gets one on the CPU."""

    def __torch_function__(
        self, call: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if call is torch.device:
            return call(*args, **kwargs or {})
        return call(*map(_moved, args), **{name: _moved(value) for name, value in (kwargs or {}).items()})


def _moved(value: Any) -> Any:
    named = isinstance(value, str) and value.partition(":")[0] == "cuda"
    if named or (isinstance(value, torch.device) and value.type == "cuda"):
        device = torch.device(value)
        assert device.index is None or device.index < COUNT, "invalid device ordinal"
        return torch.device("cpu")
    return value


class Event:
    """Records, then waits, then tells the time; any other order is an error, as on a device."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.timed, self.recorded, self.waited = enable_timing, False, False

    def record(self, stream: object = None) -> None:
        self.recorded = True

    def synchronize(self) -> None:
        self.waited = self.recorded

    def elapsed_time(self, end: Event) -> float:
        if not (self.timed and end.timed and self.recorded and end.waited):
            raise RuntimeError(
                "Both events must be recorded and created with enable_timing, and the second be waited for"
            )
        return 1.5


@contextmanager
def strict_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two devices, of which the second is the current one."""

    def checked(answer: Any, *, optional: bool = True) -> Callable[..., Any]:
        def call(device: Any = None) -> Any:
            index = _get_device_index(device, optional=optional)
            if not 0 <= index < COUNT:
                raise RuntimeError("CUDA error: invalid device ordinal")
            return answer

        return call

    properties = SimpleNamespace(
        **{"name": "Fake H100", "total_memory": 80 * 2**30, "major": 9, "minor": 0, "multi_processor_count": 132},
        **{"shared_memory_per_block_optin": 232_448, "warp_size": 32},
    )
    fakes: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: COUNT,
        "current_device": lambda: CURRENT,
        "_lazy_init": lambda: None,
        "Event": Event,
        # The one call that takes no device without an index.
        "set_device": checked(None, optional=False),
        "get_device_properties": checked(properties),
        "get_device_name": checked(properties.name),
        "get_device_capability": checked((9, 0)),
        "synchronize": checked(None),
        "reset_peak_memory_stats": checked(None),
        "memory_allocated": checked(1000),
        "max_memory_allocated": checked(5000),
        "mem_get_info": checked((70 * 2**30, 80 * 2**30)),
    }
    with monkeypatch.context() as patch, OnTheCpu():
        for name, fake in fakes.items():
            patch.setattr(torch.cuda, name, fake)
        yield
