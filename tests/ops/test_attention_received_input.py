"""attention_received at the edges: sizes, non-finite data, memory layout, and arguments that are refused."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from seats_ops import BackendUnavailable
from seats_ops import functional as F
from seats_ops.testing import packed_offsets


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0], [1], [1, 1], [0, 3, 0, 1, 0]])
def test_unusual_sizes(lengths: list[int]) -> None:
    heads = torch.randn(2, sum(lengths), 3, 4, generator=torch.Generator().manual_seed(0))
    saliency = F.attention_received(heads[0], heads[1], packed_offsets(lengths))
    assert saliency.shape == (sum(lengths),) and saliency.dtype == torch.float32
    for part in saliency.split(lengths) if lengths else ():
        assert float(part.sum()) == pytest.approx(len(part))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_values_stay_in_their_segment(bad: float) -> None:
    query, key = torch.randn(2, 30, 2, 4, generator=torch.Generator().manual_seed(1))
    cu_seqlens = packed_offsets([10, 12, 8])
    clean = F.attention_received(query, key, cu_seqlens)
    key[13, 1, 2] = bad
    got = F.attention_received(query, key, cu_seqlens)
    torch.testing.assert_close(got[:10], clean[:10])
    torch.testing.assert_close(got[22:], clean[22:])
    torch.testing.assert_close(got, F.attention_received(query, key, cu_seqlens), equal_nan=True, rtol=0, atol=0)
    if bad != bad:
        assert bool(got[10:22].isnan().all())


def test_memory_layout_max_seqlen_and_inputs() -> None:
    query, key = torch.randn(2, 30, 2, 4, generator=torch.Generator().manual_seed(2))
    cu_seqlens = packed_offsets([10, 0, 12, 8])
    before = [x.clone() for x in (query, key, cu_seqlens)]

    saliency = F.attention_received(query, key, cu_seqlens)

    strided = [x.permute(1, 2, 0).contiguous().permute(2, 0, 1) for x in (query, key)]
    assert not strided[0].is_contiguous()
    torch.testing.assert_close(F.attention_received(*strided, cu_seqlens), saliency, rtol=2e-6, atol=2e-6)
    for max_seqlen in (12, 30, 1000):
        again = F.attention_received(query, key, cu_seqlens, max_seqlen=max_seqlen)
        torch.testing.assert_close(again, saliency, rtol=2e-6, atol=2e-6)
    assert torch.equal(F.attention_received(query, key, cu_seqlens), saliency)
    assert torch.equal(F.attention_received(query, key, cu_seqlens, backend="reference"), saliency)
    for tensor, copy in zip((query, key, cu_seqlens), before, strict=True):
        assert torch.equal(tensor, copy)


VALID: dict[str, Any] = {
    "query": torch.ones(6, 2, 4),
    "key": torch.ones(6, 2, 4),
    "cu_seqlens": torch.tensor([0, 2, 6], dtype=torch.int32),
}
BAD = [
    ("query", torch.ones(6, 4), ValueError),
    ("query", torch.ones(6, 2, 4, dtype=torch.int32), TypeError),
    ("query", None, TypeError),
    ("key", torch.ones(5, 2, 4), ValueError),
    ("key", torch.ones(6, 1, 4), ValueError),
    ("key", torch.ones(6, 2, 8), ValueError),
    ("key", torch.ones(6, 8), ValueError),
    ("key", torch.ones(6, 2, 4, dtype=torch.bfloat16), TypeError),
    ("key", torch.ones(6, 2, 4, dtype=torch.bool), TypeError),
    ("key", torch.ones(6, 2, 4, device="meta"), ValueError),
    ("cu_seqlens", torch.tensor([0.0, 6.0]), TypeError),
    ("cu_seqlens", torch.tensor([[0, 6]]), ValueError),
    ("cu_seqlens", torch.tensor([], dtype=torch.int64), ValueError),
    ("cu_seqlens", torch.tensor([0, 4, 3, 6]), ValueError),
    ("cu_seqlens", torch.tensor([2, 6]), ValueError),
    ("cu_seqlens", torch.tensor([0, 7]), ValueError),
    ("cu_seqlens", torch.tensor([0, 6], device="meta"), ValueError),
    ("max_seqlen", 3, ValueError),
    ("max_seqlen", "6", TypeError),
    ("scale", "1", TypeError),
    ("scale", float("nan"), ValueError),
    ("backend", "numpy", ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_bad_arguments_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        F.attention_received(**{**VALID, name: value})


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs kernels on CPU tensors")
def test_triton_is_refused_on_cpu_tensors() -> None:
    with pytest.raises(BackendUnavailable, match="triton"):
        F.attention_received(**VALID, backend="triton")
