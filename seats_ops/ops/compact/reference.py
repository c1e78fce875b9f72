"""compact in PyTorch: one index, one `index_select` per tensor.

`index_select` does not know every dtype; what has no derivative is moved as integers of its size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

UNITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def kept_index(keep_mask: Tensor, num_kept: int | None) -> Tensor:
    """int64 [K]: positions of the True entries, ascending; reads the device only when `num_kept` is not given."""
    if num_kept is None:
        return keep_mask.nonzero().squeeze(1)
    return torch.nonzero_static(keep_mask, size=num_kept).squeeze(1)


def gather(index: Tensor, tensors: Sequence[Tensor], dim: int) -> list[Tensor]:
    """Rows `index` of every tensor along `dim`."""
    return [_rows(tensor, dim, index) for tensor in tensors]


def _rows(tensor: Tensor, dim: int, index: Tensor) -> Tensor:
    kind = tensor.dtype
    if kind.is_complex or (kind.is_floating_point and kind.itemsize > 1):
        return tensor.index_select(dim, index)
    return tensor.view(UNITS[kind.itemsize]).index_select(dim, index).view(kind)
