"""compact in PyTorch: one index, one `index_select` per tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def kept_index(keep_mask: Tensor, num_kept: int | None) -> Tensor:
    """int64 [K]: positions of the True entries, ascending; reads the device only when `num_kept` is not given."""
    if num_kept is None:
        return keep_mask.nonzero().squeeze(1)
    return torch.nonzero_static(keep_mask, size=num_kept).squeeze(1)


def gather(index: Tensor, tensors: Sequence[Tensor], dim: int) -> list[Tensor]:
    """Rows `index` of every tensor along `dim`."""
    return [tensor.index_select(dim, index) for tensor in tensors]
