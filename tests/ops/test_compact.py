"""compact against list comprehensions, and its gradient."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import BackendUnavailable
from seats_ops import functional as F
from seats_ops.testing.strategies import seeds

DTYPES = [
    torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.complex64,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


def random_tensor(shape: list[int], dtype: torch.dtype, random: torch.Generator) -> Tensor:
    return torch.randint(0, 100, shape, generator=random).to(dtype)


def chosen(tensor: Tensor, keep: list[bool], dim: int) -> Tensor:
    slices = [part for part, kept in zip(tensor.unbind(dim), keep, strict=True) if kept]
    shape = list(tensor.shape)
    shape[dim] = 0
    return torch.stack(slices, dim) if slices else tensor.new_empty(shape)


@settings(max_examples=80)
@given(st.integers(0, 30), st.integers(0, 2), st.lists(st.sampled_from(DTYPES), max_size=4), seeds(), st.booleans())
def test_matches_a_list_comprehension(total: int, dim: int, dtypes: list[torch.dtype], seed: int, told: bool) -> None:
    random = torch.Generator().manual_seed(seed)
    keep_mask = torch.rand(total, generator=random) < torch.rand((), generator=random)
    tensors = []
    for index, dtype in enumerate(dtypes):
        shape = [2, 3, 4][: dim + 1 + index % 2]
        shape[dim] = total
        tensors.append(random_tensor(shape, dtype, random))
    before = [x.clone() for x in (keep_mask, *tensors)]

    compacted = F.compact(keep_mask, *tensors, dim=dim, num_kept=int(keep_mask.sum()) if told else None)

    assert isinstance(compacted, tuple) and len(compacted) == len(tensors)
    for got, tensor in zip(compacted, tensors, strict=True):
        expected = chosen(tensor, keep_mask.tolist(), dim)
        assert got.dtype == tensor.dtype and torch.equal(got, expected)
    assert all(torch.equal(x, copy) for x, copy in zip((keep_mask, *tensors), before, strict=True))


def test_negative_dim_and_tensors_of_different_rank() -> None:
    keep = torch.tensor([True, False, True])
    wide, flat = torch.arange(24).reshape(2, 4, 3), torch.arange(3)
    got = F.compact(keep, wide, flat, dim=-1)
    assert torch.equal(got[0], wide[..., [0, 2]]) and got[1].tolist() == [0, 2]


def test_non_contiguous_inputs() -> None:
    table = torch.arange(60).reshape(6, 10)
    keep = torch.tensor([True, False] * 10)[::2].clone()
    keep[3] = False
    strided = torch.zeros(20, dtype=torch.bool)
    strided[::2] = keep
    for mask in (keep, strided[::2]):
        (got,) = F.compact(mask, table.T)
        assert torch.equal(got, table.T.contiguous()[keep])


@pytest.mark.parametrize("value", [True, False])
def test_all_or_nothing_and_no_tensors(value: bool) -> None:
    x = torch.arange(12.0).reshape(4, 3)
    keep = torch.full((4,), value)
    (got,) = F.compact(keep, x)
    assert torch.equal(got, x if value else x[:0])
    assert got.data_ptr() != x.data_ptr() or not value
    assert F.compact(keep) == ()


def test_gradient_scatters_back_to_the_kept_tokens() -> None:
    random = torch.Generator().manual_seed(0)
    keep = torch.tensor([True, False, True, True, False])
    for dim, shape in ((0, (5, 3)), (1, (2, 5, 3))):
        x = torch.randn(shape, generator=random, dtype=torch.float64, requires_grad=True)
        ids = torch.arange(5).expand(shape[: dim + 1]).contiguous()
        assert torch.autograd.gradcheck(lambda x, d=dim, i=ids: F.compact(keep, x, i, dim=d)[0], (x,))
        got = F.compact(keep, x, ids, dim=dim)[0]
        weight = torch.randn(got.shape, generator=random, dtype=torch.float64)
        (got * weight).sum().backward()
        expected = torch.zeros(shape, dtype=torch.float64)
        expected.index_copy_(dim, torch.tensor([0, 2, 3]), weight)
        assert torch.equal(x.grad, expected)


def test_the_result_shares_no_memory() -> None:
    x = torch.zeros(4)
    (got,) = F.compact(torch.ones(4, dtype=torch.bool), x)
    got += 1
    assert x.tolist() == [0.0] * 4


MASK = torch.tensor([True, False, True])


@pytest.mark.parametrize(
    ("keep_mask", "tensors", "options", "error", "match"),
    [
        (torch.tensor([1, 0, 1]), [torch.ones(3)], {}, TypeError, "keep_mask"),
        ([True, False, True], [torch.ones(3)], {}, TypeError, "keep_mask"),
        (MASK[None], [torch.ones(3)], {}, ValueError, "keep_mask"),
        (MASK, [torch.ones(3), torch.ones(4)], {}, ValueError, r"tensors\[1\]"),
        (MASK, [torch.ones(3), torch.ones(3, 2)], {"dim": 1}, ValueError, r"tensors\[0\]|dim"),
        (MASK, [torch.tensor(1.0)], {}, ValueError, r"tensors\[0\]|dim"),
        (MASK, [torch.ones(3), "x"], {}, TypeError, r"tensors\[1\]"),
        (MASK, [torch.ones(3, device="meta")], {}, ValueError, r"tensors\[0\]"),
        (MASK, [torch.ones(3)], {"num_kept": 1}, ValueError, "num_kept"),
        (MASK, [torch.ones(3)], {"num_kept": -1}, ValueError, "num_kept"),
        (MASK, [torch.ones(3)], {"num_kept": 4}, ValueError, "num_kept"),
        (MASK, [torch.ones(3)], {"num_kept": 2.0}, TypeError, "num_kept"),
        (MASK, [torch.ones(3)], {"dim": 0.0}, TypeError, "dim"),
        (MASK, [torch.ones(3)], {"backend": "index_select"}, ValueError, "backend"),
    ],
)
def test_bad_arguments_are_named(
    keep_mask: object, tensors: list, options: dict, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        F.compact(keep_mask, *tensors, **options)


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs kernels on CPU tensors")
def test_triton_is_refused_on_cpu_tensors() -> None:
    with pytest.raises(BackendUnavailable, match="triton"):
        F.compact(MASK, torch.ones(3), backend="triton")
