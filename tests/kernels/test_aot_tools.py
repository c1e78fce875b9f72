"""The checks of compiled code see what they are for: kernels with one planted mistake each."""

from __future__ import annotations

import os

import pytest
import torch
import triton
import triton.language as tl

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

from seats_ops.ops.launch import KernelConfig
from seats_ops.testing.aot import Variant, compile_variant, problems
from seats_ops.testing.launches import Launch


@triton.jit
def dot_kernel(a, b, out, PRECISION: tl.constexpr):
    row = tl.arange(0, 64)
    cell = row[:, None] * 64 + row[None, :]
    product = tl.dot(tl.load(a + cell), tl.load(b + cell), input_precision=PRECISION)
    tl.store(out + cell, product)


@triton.jit
def strided_kernel(x, out, stride, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK)
    tl.store(out + lane, tl.load(x + lane * stride))


@triton.jit
def crowded_kernel(x, out, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK)
    value = tl.load(x + lane)
    running = tl.cumsum(value, 0)
    for _ in range(3):
        running = tl.cumsum(running * value, 0)
    tl.store(out + lane, running / value)


def found(kernel: object, signature: dict[str, str], constants: dict[str, object], target: str, *expects: str) -> str:
    config = KernelConfig("planted", kernel, signature, constants, 1, 1, expects)
    variant = Variant(config, target, aligned=True)
    return "\n".join(problems(variant, compile_variant(variant)))


@pytest.mark.parametrize("target", ["sm_90", "gfx942"])
def test_spills_are_seen(target: str) -> None:
    assert "spills" in found(crowded_kernel, {"x": "*fp32", "out": "*fp32"}, {"BLOCK": 16384}, target)


@pytest.mark.parametrize("target", ["sm_90", "gfx942"])
def test_narrow_loads_are_seen(target: str) -> None:
    signature = {"x": "*fp32", "out": "*fp32", "stride": "i32"}
    assert "widest load 32 bits" in found(strided_kernel, signature, {"BLOCK": 128}, target, "wide_loads")


def test_an_unpinned_precision_is_seen() -> None:
    signature = dict.fromkeys(("a", "b", "out"), "*fp32")
    assert "tf32" in found(dot_kernel, signature, {"PRECISION": None}, "sm_80")
    assert "tf32" not in found(dot_kernel, signature, {"PRECISION": "ieee"}, "sm_80")


@pytest.mark.parametrize(
    ("target", "matrix"), [("sm_80", "mma.sync"), ("sm_90", "mma.sync"), ("sm_120", "mma.sync"), ("gfx942", "v_mfma")]
)
def test_matrix_instructions_are_told_from_none(target: str, matrix: str) -> None:
    signature = {"a": "*bf16", "b": "*bf16", "out": "*fp32"}
    config = KernelConfig("dot", dot_kernel, signature, {"PRECISION": "ieee"}, 1, 1, ("mma",))
    assert compile_variant(Variant(config, target, aligned=True)).matrix == matrix
    assert "no matrix" in found(
        strided_kernel, {"x": "*fp32", "out": "*fp32", "stride": "i32"}, {"BLOCK": 128}, target, "mma"
    )


def test_keys_tell_lengths_apart_where_triton_would_compile_again() -> None:
    x = torch.zeros(32)
    keys = {Launch(strided_kernel, (x, x, stride), {"BLOCK": 128}, (1,)).key() for stride in (1, 2, 16, 17)}
    assert len(keys) == 3, "1, multiples of 16, and the rest"
