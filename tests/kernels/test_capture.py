"""What may be recorded into a CUDA graph: operators that copy from the host or read the device are tagged."""

from __future__ import annotations

import os
from typing import Any
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("launches are recorded instead of run, which needs the compiler", allow_module_level=True)

from seats_ops import functional as F
from seats_ops.errors import BackendUnavailable
from seats_ops.testing.device_work import host_waits
from seats_ops.testing.launches import record_launches
from seats_ops.testing.stand_in_device import Device
from tests.kernels.test_torch_operators import CALLS

CAPTURE = mock.patch("torch.cuda.is_current_stream_capturing", lambda: True)


class TouchesHost(TorchDispatchMode):
    """Sees reads of tensors, and tensors made from the host's own numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if host_waits(name, args, kwargs or {}) or name in ("lift_fresh", "_to_copy"):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def long_window() -> tuple[str, tuple[Any, ...]]:
    return "max_min_diversity", (
        torch.ones(20, 8), torch.tensor([0, 20]), torch.tensor([2]), None, None, 20, None, "spread", "triton",
    )  # fmt: skip


def touched(name: str, arguments: tuple[Any, ...]) -> list[str]:
    """What an operator's body asks of the host when it launches kernels."""
    arguments = tuple("triton" if value == "auto" else value for value in arguments)
    body = torch._library.custom_ops.OPDEFS[f"seats_ops::{name}"]._init_fn
    with record_launches(), TouchesHost() as host:
        body(*arguments)
    return host.seen


def test_tags_say_what_launchers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seats_ops.ops.max_min_diversity.triton.MAX_MATRIX", 16)
    touching = {name for name, arguments in [*CALLS, long_window()] if touched(name, arguments)}
    tagged = {
        name
        for name, _ in CALLS
        if torch.Tag.cudagraph_unsafe in getattr(torch.ops.seats_ops, name).default.tags
    }  # fmt: skip
    assert touching == tagged == {"gather", "kept_index"}


def test_only_an_unknown_number_of_kept_tokens_is_read() -> None:
    calls = [arguments for name, arguments in CALLS if name == "kept_index"]
    assert [bool(touched("kept_index", arguments)) for arguments in calls] == [a[1] is None for a in calls]


@pytest.mark.parametrize("backend", ["auto", "triton"])
def test_a_captured_gather_takes_what_can_be_captured(backend: str) -> None:
    index, rows = torch.tensor([0, 2]), torch.arange(6.0).view(3, 2)
    with (
        mock.patch("seats_ops.ops.compact.op.capturing", lambda tensor: True),
        mock.patch("seats_ops.backend.why_not_triton", lambda primitive, tensor: None),
    ):
        if backend == "triton":
            with pytest.raises(BackendUnavailable, match="CUDA graph"):
                torch.ops.seats_ops.gather(index, [rows], 0, backend)
        else:
            assert torch.equal(torch.ops.seats_ops.gather(index, [rows], 0, backend)[0], rows[index])
        with pytest.raises(ValueError, match=r"num_kept: expected an int while a CUDA graph"):
            F.compact(torch.tensor([True, False, True]), rows, backend=backend)


def test_only_a_cuda_stream_is_captured() -> None:
    from seats_ops.backend import capturing

    with CAPTURE:
        assert not capturing(torch.ones(1))
        assert capturing(mock.Mock(device=torch.device("cuda")))


def test_long_windows_without_a_bound_are_read_before_the_operator() -> None:
    """One read, by the public function; the operator takes the largest number of launches where it is not told."""
    features, offsets, counts = torch.ones(5000, 8), torch.tensor([0, 5000]), torch.tensor([2])
    with record_launches() as launches:
        F.max_min_diversity(features, offsets, counts, max_seqlen=5000, backend="triton")
    assert [launch.name for launch in launches].count("step_kernel") == 3
    with Device() as device:
        F.max_min_diversity(*device.put((features[:, :4], offsets, counts)), max_seqlen=5000, max_keep=2)
        assert not device.reads
