"""compact moves entries of every dtype as they are, in every shape."""

from __future__ import annotations

import pytest
import torch

from seats_ops import functional as F

DTYPES = [
    torch.bool,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint16, torch.uint32, torch.uint64,
    torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.complex32, torch.complex64, torch.complex128,
]  # fmt: skip
KEEP = torch.tensor([True, False, True, True, False])


def raw(tensor: torch.Tensor) -> list[list[int]]:
    """The bytes of every entry: no dtype is asked for what it may lack."""
    return tensor.contiguous().flatten().view(torch.uint8).view(-1, tensor.dtype.itemsize).tolist()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bytes_are_moved(dtype: torch.dtype) -> None:
    entries = torch.arange(2 * 5 * 3 * dtype.itemsize, dtype=torch.uint8)
    x = (entries % 2 if dtype == torch.bool else entries).view(dtype).view(2, 5, 3)
    cases = {"cube": (x, 1), "matrix": (x[0], 0), "flat": (x[1, :, 2].contiguous(), 0)}
    cases |= {"every_second": (x[1, :, 2], -1), "turned": (x[0].T, 1), "none": (x[:0], 1), "empty": (x[:, :, :0], 1)}
    for name, (tensor, dim) in cases.items():
        (got,) = F.compact(KEEP, tensor, dim=dim)
        expected = [piece for piece, kept in zip(tensor.unbind(dim), KEEP.tolist(), strict=True) if kept]
        assert got.dtype == dtype and got.shape[dim] == 3, name
        assert [raw(piece) for piece in got.unbind(dim)] == [raw(piece) for piece in expected], name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_no_rows(dtype: torch.dtype) -> None:
    x = torch.zeros(0, 2, dtype=torch.uint8).to(dtype) if dtype == torch.bool else torch.empty(0, 2, dtype=dtype)
    (got,) = F.compact(torch.zeros(0, dtype=torch.bool), x)
    assert got.shape == (0, 2) and got.dtype == dtype
    (got,) = F.compact(torch.zeros(5, dtype=torch.bool), torch.empty(5, 2, dtype=dtype))
    assert got.shape == (0, 2) and got.dtype == dtype


def test_views_that_negate_or_conjugate_only_when_read() -> None:
    x = torch.tensor([1 + 2j, 3 - 4j, 5 + 6j, 7 - 8j, 9 + 1j])
    conjugate, negated = F.compact(KEEP, x.conj(), x.conj().imag)
    assert conjugate.tolist() == [1 - 2j, 5 - 6j, 7 + 8j]
    assert negated.tolist() == [-2.0, -6.0, 8.0]
