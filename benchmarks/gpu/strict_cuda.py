"""A CUDA device as far as code on a machine without one can go: the checks of the real calls, tensors on the CPU."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch.autograd import DeviceType
from torch.cuda._utils import _get_device_index
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.observe import WAITS
from seats_ops import backend
from seats_ops.testing.device_work import host_waits

COUNT, CURRENT = 2, 1
NAME = "Fake H100"


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


class Stream:
    """Everything is done at once, so there is nothing to wait for."""

    def wait_stream(self, other: Stream) -> None:
        assert isinstance(other, Stream)


class _OnHostWait(TorchDispatchMode):
    """Calls `react` wherever the host would wait for a device."""

    def __init__(self, react: Callable[[], None]) -> None:
        super().__init__()
        self.react = react

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if host_waits(func.overloadpacket.__name__, args, kwargs or {}):
            self.react()
        return func(*args, **(kwargs or {}))


class Graph:
    """Replays what was captured, and nothing else."""

    def __init__(self) -> None:
        self.is_captured = False

    def replay(self) -> None:
        if not self.is_captured:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")


@contextmanager
def _capture(graph: Graph) -> Iterator[None]:
    broken = []

    def refuse() -> None:
        broken.append(True)
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    with _OnHostWait(refuse):
        yield
    if broken:
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
    graph.is_captured = True


class _SyncDebug:
    """Warns, as the device does in that mode."""

    def __init__(self) -> None:
        self.mode: _OnHostWait | None = None

    def __call__(self, wanted: str) -> None:
        assert wanted in ("default", "warn", "error")
        if self.mode is not None:
            self.mode.__exit__(None, None, None)
            self.mode = None
        if wanted == "warn":
            self.mode = _OnHostWait(lambda: warnings.warn(WAITS, stacklevel=1))
            self.mode.__enter__()


class _Profile:
    """One kernel of a millisecond."""

    def __init__(self, activities: Any) -> None:
        assert activities

    def __enter__(self) -> _Profile:
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing is left to do."""

    @property
    def profiler(self) -> Any:
        kernel = {"name": "kernel", "device_type": DeviceType.CUDA, "duration_ns": 1e6, "is_user_annotation": False}
        calls = {name: (lambda value=value: value) for name, value in kernel.items()}
        return SimpleNamespace(kineto_results=SimpleNamespace(events=lambda: [SimpleNamespace(**calls)]))


@contextmanager
def strict_cuda() -> Iterator[None]:
    """Two devices, of which the second is the current one. References stand for kernels."""

    def checked(answer: Any, *, optional: bool = True) -> Callable[..., Any]:
        def call(device: Any = None) -> Any:
            index = _get_device_index(device, optional=optional)
            if not 0 <= index < COUNT:
                raise RuntimeError("CUDA error: invalid device ordinal")
            return answer

        return call

    properties = SimpleNamespace(
        **{"name": NAME, "total_memory": 80 * 2**30, "major": 9, "minor": 0, "multi_processor_count": 132},
        **{"shared_memory_per_block_optin": 232_448, "warp_size": 32},
    )
    fakes: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: COUNT,
        "current_device": lambda: CURRENT,
        "_lazy_init": lambda: None,
        "Event": Event,
        "CUDAGraph": Graph,
        "graph": _capture,
        "Stream": Stream,
        "stream": lambda stream: ExitStack(),
        "current_stream": checked(Stream()),
        "set_stream": lambda stream: None,
        "set_sync_debug_mode": _SyncDebug(),
        # The one call that takes no device without an index.
        "set_device": checked(None, optional=False),
        "get_device_properties": checked(properties),
        "get_device_name": checked(properties.name),
        "get_device_capability": checked((9, 0)),
        "synchronize": checked(None),
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": checked(None),
        "memory_allocated": checked(1000),
        "memory_reserved": checked(2000),
        "max_memory_allocated": checked(5000),
        "mem_get_info": checked((79 * 2**30, 80 * 2**30)),
    }
    resolve = backend.resolve_backend

    def reference(asked: str, *rest: Any) -> str:
        return resolve("reference" if asked == "triton" else asked, *rest)

    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, environment, clear=True))
        stack.enter_context(mock.patch.object(backend, "resolve_backend", reference))
        stack.enter_context(mock.patch("benchmarks.observe.profile", _Profile))
        for name, fake in fakes.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, fake))
        stack.enter_context(OnTheCpu())
        yield
