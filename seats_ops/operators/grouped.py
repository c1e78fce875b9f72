"""What methods work out group by group: ranks, counts, means, min-max, on the device of the tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from seats_ops.layout import Groups, Modality, TokenLayout, group_tokens


class Grouped:
    """Groups of tokens on a device, with all groups treated at once and nothing read back.

    Attributes:
        groups: on the host.
        ids: int64 [T], see `Groups`.
        index, cu_seqlens: tokens group by group, and where the groups start and end.
        longest: tokens of the largest group.

    Example:
        >>> import torch
        >>> from seats_ops.layout import Groups, Modality, TokenLayout, group_tokens
        >>> from seats_ops.operators.grouped import Grouped
        >>> ids, row = torch.tensor([0, 0, -1, 0]), torch.tensor([0])
        >>> grouped = Grouped(Groups(ids, torch.tensor([3]), row, row), torch.device("cpu"))
        >>> grouped.rank(torch.tensor([True, False, True, True])).tolist()
        [0, 1, 0, 1]
    """

    def __init__(self, groups: Groups, device: torch.device) -> None:
        index, cu_seqlens = groups.packed()
        self.groups = groups
        self.ids = groups.ids.to(device, non_blocking=True)
        self.index = index.to(device, non_blocking=True)
        self.cu_seqlens = cu_seqlens.to(device, non_blocking=True)
        self.longest = int(groups.lengths.max()) if len(groups) else 0

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def inside(self) -> Tensor:
        """bool [T]: the token is in a group."""
        return self.ids >= 0

    def counts(self, numbers: Iterable[int]) -> Tensor:
        """int64 [N] numbers known on the host, such as budgets, on the device."""
        return torch.tensor(list(numbers), dtype=torch.int64, device="cpu").to(self.ids.device, non_blocking=True)

    def spread(self, values: Tensor) -> Tensor:
        """[T, ...]: to every token what its group has of [G, ...]; 0 outside all groups."""
        if not len(self):
            return values.new_zeros((len(self.ids), *values.shape[1:]))
        inside = (self.ids >= 0).view(-1, *[1] * (values.ndim - 1))
        return torch.where(inside, values[self.ids.clamp(min=0)], torch.zeros_like(values[:1]))

    def rank(self, mask: Tensor) -> Tensor:
        """int64 [T]: how many tokens of the mask stand before a token in its group; 0 outside all groups."""
        chosen = mask[self.index].long()
        before = chosen.cumsum(0) - chosen
        first = torch.nn.functional.pad(chosen.cumsum(0), (1, 0))[self.cu_seqlens[:-1].long()]
        ranks = before - first[self.ids[self.index]]
        return torch.zeros_like(self.ids).index_copy_(0, self.index, ranks)

    def count(self, mask: Tensor) -> Tensor:
        """int64 [G]: tokens of the mask in each group."""
        running = torch.nn.functional.pad(mask[self.index].long().cumsum(0), (1, 0))
        return running[self.cu_seqlens.long()].diff()

    def total(self, features: Tensor) -> Tensor:
        """float64 [G, D], sums of [T, D] in the order of the tokens."""
        packed, lengths = features[self.index].double(), self.cu_seqlens.diff().long()
        return torch.segment_reduce(packed, "sum", lengths=lengths, unsafe=True, initial=0)

    def mean(self, features: Tensor) -> Tensor:
        """float32 [G, D] of [T, D]."""
        return (self.total(features) / self.cu_seqlens.diff().clamp(min=1)[:, None]).float()

    def affinity(self, features: Tensor) -> Tensor:
        """float32 [T]: mean product of a token of [T, D] with all of its group, itself among them; 0 outside."""
        own, lengths = self.ids[self.index], self.cu_seqlens.diff().clamp(min=1)
        product = (features[self.index].double() * self.total(features)[own]).sum(-1) / lengths[own]
        found = torch.zeros(len(self.ids), dtype=torch.float32, device=features.device)
        return found.index_copy_(0, self.index, product.float())

    def minmax(self, values: Tensor, mask: Tensor | None = None, *, eps: float = 1e-6) -> Tensor:
        """float32 [T]: (x - least) / (most - least + eps) over the group's tokens, or those of a mask; 0 elsewhere."""
        inside = self.ids >= 0 if mask is None else mask & (self.ids >= 0)
        values = values.float()
        spare = torch.where(inside, self.ids, len(self))
        least, most = (
            values.new_zeros(len(self) + 1).scatter_reduce(0, spare, values, how, include_self=False)
            for how in ("amin", "amax")
        )
        scaled = (values - least[spare]) / (most[spare] - least[spare] + eps)
        return torch.where(inside, scaled, 0.0)


def row_means(features: Tensor, layout: TokenLayout, *kinds: Modality) -> Tensor:
    """float32 [B, D]: mean of the tokens of some modalities of every prompt; 0 where it has none."""
    groups = Grouped(group_tokens(layout, "row", kinds), features.device)
    means = torch.zeros(layout.num_rows, features.shape[1], dtype=torch.float32, device=features.device)
    return means.index_copy_(0, groups.groups.row.to(features.device, non_blocking=True), groups.mean(features))
