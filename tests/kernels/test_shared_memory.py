"""Shared memory by head_dim: the launcher's figure against compiled code, and what happens where it does not fit."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest import mock

import pytest
import torch
from torch import Tensor

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

import triton
from triton.backends.nvidia.compiler import CUDABackend

from seats_ops import functional as F
from seats_ops.backend import resolve_backend, shared_memory, too_much_shared
from seats_ops.errors import BackendUnavailable
from seats_ops.ops.attention_received import triton as kernels
from seats_ops.ops.attention_received.tiles import shared_memory_need
from seats_ops.ops.tile_grid import changed
from seats_ops.ops.tiles import DEFAULT, number_case
from seats_ops.testing.aot import TARGETS, Variant
from seats_ops.testing.shipped import shipped_configs
from tests.kernels.snapshot import recorded

KIB = 1024
T4, AMPERE_CONSUMER, A100, H100 = 64 * KIB, 99 * KIB, 163 * KIB, 227 * KIB
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def test_the_figure_covers_what_shipped_kernels_take() -> None:
    """On every target, and not much more than the target that takes the most."""
    largest: dict[tuple[str, int], int] = {}
    for name, (_, report) in recorded().items():
        kernel = name.split("/")[0]
        if kernel.startswith(("row_logsumexp", "column_sum")):
            *_, dtype, dim = kernel.split("_")
            key = dtype, int(dim.removeprefix("d"))
            largest[key] = max(largest.get(key, 0), report.shared)
    assert len(largest) == len(DTYPES) * len(kernels.HEAD_DIMS)
    for (dtype, dim), taken in largest.items():
        assert taken <= shared_memory_need(DEFAULT, DTYPES[dtype], dim) <= 1.6 * taken, (dtype, dim)


@pytest.mark.parametrize(("dtype", "dim"), [(torch.float32, 512), (torch.bfloat16, 512), (torch.float32, 1024)])
def test_the_figure_covers_wide_heads(
    dtype: torch.dtype, dim: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Compiled as far as the sizes are known; the assembler would take a minute. The cache must not keep that."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(CUDABackend, "make_cubin", lambda *_: b"")
    config = kernels._config(DEFAULT, kernels.column_sum_kernel, "wide", dtype, dim, GIVEN=False)
    variant = Variant(config, "sm_80", aligned=True)
    compiled = triton.compile(variant.source(), target=TARGETS["sm_80"], options=variant.options())
    assert compiled.metadata.shared <= shared_memory_need(DEFAULT, dtype, dim) <= 1.6 * compiled.metadata.shared


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "gfx942"])
@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (torch.float32, {"QUERIES": 16, "KEYS": 32, "num_stages": 1}),
        (torch.float32, {"QUERIES": 32, "KEYS": 32, "num_stages": 2}),
        (torch.bfloat16, {"QUERIES": 128, "KEYS": 64, "num_stages": 3}),
        (torch.bfloat16, {"QUERIES": 16, "KEYS": 64, "num_stages": 3}),
    ],
)
def test_the_figure_covers_tuned_tiles(
    dtype: torch.dtype, values: dict[str, int], target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of both kernels: one walks over keys, the other over queries."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(CUDABackend, "make_cubin", lambda *_: b"")
    entry = f"attention_received/{number_case(dtype)}/128"
    table = {**DEFAULT, entry: changed(DEFAULT[entry], values)}
    for kernel, given in ((kernels.row_logsumexp_kernel, {}), (kernels.column_sum_kernel, {"GIVEN": False})):
        variant = Variant(kernels._config(table, kernel, "tuned", dtype, 128, **given), target, aligned=True)
        compiled = triton.compile(variant.source(), target=TARGETS[target], options=variant.options())
        assert compiled.metadata.shared <= shared_memory_need(table, dtype, 128), kernel.fn.__name__


def test_no_other_kernel_comes_near_the_smallest_device() -> None:
    tiled = {f"{c.name}/" for c in shipped_configs() if c.name.startswith(("row_logsumexp", "column_sum"))}
    others = {name: report.shared for name, (_, report) in recorded().items() if not name.startswith(tuple(tiled))}
    assert max(others.values()) <= 48 * KIB


@pytest.mark.parametrize(
    ("dtype", "dim", "room", "fits"),
    [
        (torch.float32, 256, T4, True),
        (torch.float32, 512, T4, False),
        (torch.float32, 512, AMPERE_CONSUMER, True),
        (torch.float32, 1024, AMPERE_CONSUMER, False),
        (torch.float32, 1024, A100, True),
        (torch.float32, 2048, H100, False),
        (torch.bfloat16, 512, T4, True),
        (torch.bfloat16, 1024, T4, False),
        (torch.bfloat16, 128, 48 * KIB, True),
    ],
)
def test_what_fits_where(dtype: torch.dtype, dim: int, room: int, fits: bool) -> None:
    """ "auto" takes the reference where the kernel does not fit, "triton" is refused with the numbers."""
    on_a_gpu = cast(Tensor, SimpleNamespace(device=torch.device("cuda", 0)))
    properties = SimpleNamespace(shared_memory_per_block=48 * KIB, shared_memory_per_block_optin=room)
    with (
        mock.patch("torch.cuda.get_device_properties", lambda device: properties),
        mock.patch("seats_ops.backend.why_not_triton", lambda primitive, tensor: None),
    ):
        assert shared_memory(on_a_gpu.device) == room
        unfit = too_much_shared("it", shared_memory_need(DEFAULT, dtype, dim), on_a_gpu)
        assert resolve_backend("auto", "attention_received", on_a_gpu, unfit) == ("triton" if fits else "reference")


def test_a_call_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seats_ops.backend.shared_memory", lambda device: T4)
    monkeypatch.setattr("seats_ops.backend.why_not_triton", lambda primitive, tensor: None)
    heads, offsets = torch.ones(3, 1, 512), torch.tensor([0, 3])
    message = f"attention_received: a head_dim of 512 in torch.float32 takes 66560 bytes of shared memory, above {T4}"
    with pytest.raises(BackendUnavailable, match=message):
        F.attention_received(heads, heads, offsets, backend="triton")
    assert torch.equal(F.attention_received(heads, heads, offsets), torch.ones(3))


def test_a_device_without_the_larger_number() -> None:
    with mock.patch("torch.cuda.get_device_properties", lambda device: SimpleNamespace(shared_memory_per_block=T4)):
        assert shared_memory(torch.device("cuda")) == T4
    assert shared_memory(torch.device("cpu")) is None
