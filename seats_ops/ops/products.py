"""float32 matrix products on a CPU through oneDNN instead of MKL.

Both are torch's own; `@` takes MKL, which on the AMD processor of our benchmarks needs twice the time.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Multiply-adds below which the conversion is not worth it.
SMALL = 2**20


def packs(rows: int, columns: int, channels: int, like: Tensor) -> bool:
    """Whether [rows, channels] x [columns, channels] is better multiplied by `packed` tensors."""
    return like.device.type == "cpu" and torch.backends.mkldnn.is_available() and rows * columns * channels >= SMALL


def packed(x: Tensor) -> Tensor:
    """A float32 matrix in oneDNN's own form; `to_dense` gives it back."""
    return x.to_mkldnn()


def products(a: Tensor, b: Tensor) -> Tensor:
    """a @ b.T of two packed matrices, packed."""
    return torch.nn.functional.linear(a, b)
