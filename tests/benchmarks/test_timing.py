"""Clocks, graphs and what is seen on a device, on a strict stand-in for CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks import timing
from benchmarks.gpu.strict_cuda import Graph, strict_cuda
from benchmarks.graphs import NotCapturable, captured
from benchmarks.kernel_time import BY_THE_REFERENCE, CAPTURED, kernel_time
from benchmarks.observe import host_waits, launches, on_device
from benchmarks.timing import KINDS, Clock, OtherKernels, measure
from seats_ops.ops.launch import launch

DEVICE = torch.device("cuda", 0)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(timing, "FLUSH_BYTES", 2**12)
    with strict_cuda():
        yield


def waits() -> torch.Tensor:
    return torch.zeros(1) + int(torch.ones(1).sum())


def waits_not() -> torch.Tensor:
    return torch.ones(1) + 1


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])
def test_every_clock_has_a_name_and_a_time(kind: str, cold: bool) -> None:
    clock = Clock(DEVICE, kind, cold=cold)
    assert clock.name == f"{kind}, {'cold' if cold else 'warm'} L2"
    (seconds,) = measure([{"a": waits_not}], DEVICE, 1, clock)["a"]
    # The stand-in's events say 1.5 ms between them, its profiler 1 ms; a warm graph is replayed many times in between.
    expected = {"events": 1.5e-3, "profiler": 1e-3, "graph": 1.5e-3 / (1 if cold else timing.REPLAYS)}
    assert seconds == pytest.approx(expected[kind]) if kind in expected else seconds > 0


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("kind", KINDS)
def test_a_cold_clock_writes_over_the_cache_before_every_turn(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for cold in (True, False):
        clock = Clock(DEVICE, kind, cold=cold)
        once = clock.prepare(waits_not)
        once()
        assert (clock._flush is not None) == cold
        if clock._flush is not None:
            clock._flush.fill_(1)
            once()
            assert not clock._flush.any()


def test_a_cpu_has_one_clock() -> None:
    assert Clock(torch.device("cpu")).name == "process time"
    with pytest.raises(ValueError, match="clock: got 'graph', expected none: a CPU has one clock"):
        Clock(torch.device("cpu"), "graph")
    with pytest.raises(ValueError, match="clock: got 'sundial', expected one of events, wall, graph, profiler"):
        Clock(DEVICE, "sundial")


@pytest.mark.usefixtures("cuda")
def test_a_call_that_waits_is_not_captured() -> None:
    assert host_waits(waits) == 1 and host_waits(waits_not) == 0
    with pytest.raises(NotCapturable, match="operation not permitted when stream is capturing"):
        captured(waits)
    with pytest.raises(NotCapturable, match=r"a loop: .* not permitted"):
        measure([{"ours": waits_not, "a loop": waits}], DEVICE, 1, Clock(DEVICE, "graph"))
    with pytest.raises(RuntimeError, match="without a preceding successful capture"):
        Graph().replay()


@pytest.mark.usefixtures("cuda")
def test_kernels_are_timed_by_graph_where_one_can_be() -> None:
    found = kernel_time([waits_not], DEVICE, 3, cold=True, waits=0)
    assert (found["capture"], found["kernel_clock"]) == (CAPTURED, "graph, cold L2")
    found = kernel_time([waits], DEVICE, 3, cold=False, waits=1)
    assert (found["capture"], found["kernel_clock"]) == ("not captured: the host waits 1 times", "profiler, warm L2")
    # A wait that nobody counted is found by the capture.
    assert "not permitted" in kernel_time([waits], DEVICE, 3, cold=False, waits=0)["capture"]


@pytest.mark.usefixtures("cuda")
def test_a_graph_with_another_result_is_told() -> None:
    numbers = iter(range(100))
    found = kernel_time([lambda: torch.ones(1) * next(numbers)], DEVICE, 1, cold=True, waits=0)
    assert found["capture"] == "captured, another result"
    assert found["kernel_clock"].startswith("profiler")


@pytest.mark.usefixtures("cuda")
def test_a_graph_of_other_kernels_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `compact` during a capture: the same result, by the reference."""
    capturing: list[bool] = []

    @contextmanager
    def capture(graph: Graph) -> Iterator[None]:
        capturing.append(True)
        yield
        capturing.clear()
        graph.is_captured = True

    class Kernel:
        fn = SimpleNamespace(__name__="gather_kernel")

        def __getitem__(self, grid: object) -> Any:
            return lambda out, **options: out.fill_(1)

    def gather() -> torch.Tensor:
        out = torch.ones(1)
        if not capturing:
            launch(Kernel(), (1,), out, num_warps=4)
        return out

    monkeypatch.setattr(torch.cuda, "graph", capture)
    found = kernel_time([gather], DEVICE, 1, cold=True, waits=0)
    assert (found["capture"], found["kernel_clock"]) == (BY_THE_REFERENCE, "profiler, cold L2")
    with pytest.raises(OtherKernels, match="found none, expected gather_kernel as in a call"):
        Clock(DEVICE, "graph").prepare(gather)
    with pytest.raises(NotCapturable, match=r"ours: a capture takes other kernels.*another clock can time it"):
        measure([{"ours": gather}], DEVICE, 1, Clock(DEVICE, "graph"))


def test_a_profile_is_what_the_device_did() -> None:
    def event(name: str, device: DeviceType, annotation: bool = False) -> Any:
        fields = {"name": name, "device_type": device, "duration_ns": 2000, "is_user_annotation": annotation}
        return SimpleNamespace(**{key: (lambda value=value: value) for key, value in fields.items()})

    events = [
        event("cudaLaunchKernel", DeviceType.CPU),
        event("kernel", DeviceType.CUDA),
        event("Memcpy DtoH", DeviceType.CUDA),
        event("Memset (Device)", DeviceType.CUDA),
        event("a range", DeviceType.CUDA, annotation=True),
    ]
    done = on_device(events)
    assert [name for name, _ in done] == ["kernel", "Memcpy DtoH", "Memset (Device)"]
    assert launches(done) == 1 and sum(seconds for _, seconds in done) == pytest.approx(6e-6)
