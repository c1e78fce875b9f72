"""Lengths are runtime values: Triton compiles a kernel once, not once per prompt."""

from __future__ import annotations

import os

import pytest
import torch

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

from seats_ops import functional as F
from seats_ops.testing.launches import Launch, record_launches
from tests.kernels.calls import CALLS
from tests.kernels.shipped import shipped_configs

SHIPPED = {
    (c.kernel.fn.__name__, tuple(sorted(c.constants.items())), c.num_warps, c.num_stages, c.max_registers)
    for c in shipped_configs()
}


def launches_of(primitive: str, total: int, **sizes: object) -> list[Launch]:
    with record_launches() as launches:
        CALLS[primitive](total, backend="triton", **sizes)
    assert launches
    return launches


def test_every_primitive_is_called() -> None:
    assert set(CALLS) == set(F.__all__)


@pytest.mark.parametrize("primitive", CALLS)
def test_lengths_in_one_bucket_share_a_compiled_kernel(primitive: str) -> None:
    """Odd, even, a multiple of 16: all lengths from 905 to 1024 round up to one power of two."""
    keys = [{launch.key() for launch in launches_of(primitive, total)} for total in (905, 1001, 1008, 1024)]
    assert all(other == keys[0] for other in keys[1:])


@pytest.mark.parametrize(("primitive", "size"), [("segment_topk", "segments"), ("window_budget", "windows")])
def test_numbers_of_segments_share_a_compiled_kernel(primitive: str, size: str) -> None:
    keys = [{launch.key() for launch in launches_of(primitive, 700, **{size: n})} for n in (17, 30, 32)]
    assert all(other == keys[0] for other in keys[1:])


def assert_shipped(launches: list[Launch]) -> None:
    """Every launch has a shipped configuration, so that the checks of compiled code are about what runs."""
    for launch in launches:
        options = launch.options
        constants = tuple(sorted(launch.constants.items()))
        limits = (options["num_warps"], options["num_stages"], options.get("maxnreg"))
        assert (launch.name, constants, *limits) in SHIPPED
        assert options["enable_fp_fusion"] is False


@pytest.mark.parametrize("primitive", CALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("total", [130, 337, 1001])
def test_what_is_launched_is_what_is_shipped(primitive: str, dtype: torch.dtype, total: int) -> None:
    assert_shipped(launches_of(primitive, total, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("dim", [64, 72, 80, 96, 128, 256])
def test_head_dims_of_encoders_are_shipped(dim: int, dtype: torch.dtype) -> None:
    assert_shipped(launches_of("attention_received", 130, dim=dim, dtype=dtype))
    assert_shipped(launches_of("attention_received", 130, dim=dim, dtype=dtype, logsumexp=torch.ones(2, 130)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("dim", [64, 80, 96, 128, 192, 256])
def test_head_dims_of_decoders_are_shipped(dim: int, dtype: torch.dtype) -> None:
    assert_shipped(launches_of("query_relevance", 130, dim=dim, dtype=dtype))
