"""Rules by which a group's tokens are selected: the highest scores, a diverse set, every so many, by chance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from seats_ops.layout import Groups, TokenLayout
from seats_ops.operators.own_work import nothing, pair_macs
from seats_ops.operators.stored import Stored
from seats_ops.ops.max_min_diversity.api import max_min_diversity
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.validation import check_int


@runtime_checkable
class Selector(Protocol):
    """Chooses as many tokens of every group as its budget says; tokens of no group are kept.

    It may have `own_macs(groups, sizes)`, what that costs, see `Stage`; `groups` are the tokens of every group, as the
    budget's `count_groups(found)` says, None where it does not.

    Attributes:
        inputs: what it needs beside scores, as a `Stage` names it.
        needs_scores: whether it looks at scores.
    """

    inputs: ClassVar[tuple[str, ...]]
    needs_scores: ClassVar[bool]

    def select(
        self,
        scores: Tensor | None,
        groups: Groups,
        budgets: Tensor,
        layout: TokenLayout,
        tensors: Mapping[str, Any],
        backend: str,
    ) -> Tensor: ...


@dataclass(frozen=True)
class TopK(Stored):
    """The highest scores of a group, ties to the first token.

    Attributes:
        largest: False keeps the lowest.
    """

    inputs: ClassVar[tuple[str, ...]] = ()
    needs_scores: ClassVar[bool] = True
    own_macs = nothing

    largest: bool = True

    def select(
        self,
        scores: Tensor | None,
        groups: Groups,
        budgets: Tensor,
        layout: TokenLayout,
        tensors: Mapping[str, Any],
        backend: str,
    ) -> Tensor:
        """bool [T]."""
        assert scores is not None
        device = scores.device
        ranked = scores if self.largest else -scores
        ids = groups.ids.to(device, non_blocking=True)
        return segment_topk(ranked, ids, budgets.to(device, non_blocking=True), backend=backend)


@dataclass(frozen=True)
class MaxMin(Stored):
    """A diverse set: greedy max-min cosine distance (`max_min_diversity`); scores, where given, weigh candidates."""

    inputs: ClassVar[tuple[str, ...]] = ("features",)
    needs_scores: ClassVar[bool] = False

    def select(
        self,
        scores: Tensor | None,
        groups: Groups,
        budgets: Tensor,
        layout: TokenLayout,
        tensors: Mapping[str, Any],
        backend: str,
    ) -> Tensor:
        """bool [T]."""
        features = tensors["features"]
        device = features.device
        index, cu_seqlens = groups.packed()
        index = index.to(device, non_blocking=True)
        on_host = budgets.device.type == "cpu"
        kept = max_min_diversity(
            features,
            cu_seqlens.to(device, non_blocking=True),
            budgets.to(device, non_blocking=True),
            weights=None if scores is None else scores[index].float(),
            index=index,
            max_seqlen=int(groups.lengths.max()) if len(groups) else 0,
            max_keep=int(budgets.max()) if on_host and len(budgets) else None,
            backend=backend,
        )
        return (groups.ids < 0).to(device, non_blocking=True).index_copy_(0, index, kept)

    def own_macs(self, groups: Sequence[int] | None, sizes: Any) -> int | None:
        """All pairs of a group; None where nobody knows the groups."""
        return None if groups is None else pair_macs(groups, sizes.hidden)


class _ByPlace(ABC):
    """Selectors for which it is enough how many tokens a group has: worked out on the host."""

    own_macs = nothing

    @abstractmethod
    def places(self, n: int, k: int, row: int, tensors: Mapping[str, Any]) -> Tensor:
        """int64 [k] of the n places of a group of prompt `row`."""

    def select(
        self,
        scores: Tensor | None,
        groups: Groups,
        budgets: Tensor,
        layout: TokenLayout,
        tensors: Mapping[str, Any],
        backend: str,
    ) -> Tensor:
        """bool [T]."""
        index, cu_seqlens = groups.packed()
        keep_mask = groups.ids < 0
        starts, lengths = cu_seqlens.tolist()[:-1], groups.lengths.tolist()
        for start, n, k, row in zip(starts, lengths, budgets.tolist(), groups.row.tolist(), strict=True):
            keep_mask[index[start + self.places(n, k, row, tensors)]] = True
        return keep_mask.to(layout.modality.device, non_blocking=True)


@dataclass(frozen=True)
class Strided(_ByPlace, Stored):
    """Evenly spread: places round(i (n - 1) / (k - 1)) of a group of n, half to even; the first one for k = 1."""

    inputs: ClassVar[tuple[str, ...]] = ()
    needs_scores: ClassVar[bool] = False

    def places(self, n: int, k: int, row: int, tensors: Mapping[str, Any]) -> Tensor:
        """See above."""
        # In whole numbers: a step of floating point misses halves, which then round the other way.
        steps = torch.arange(k, dtype=torch.int64, device="cpu") * (n - 1)
        places, rest = steps // max(k - 1, 1), steps % max(k - 1, 1)
        up = (2 * rest > k - 1) | ((2 * rest == k - 1) & (places % 2 == 1))
        return places + up.long()


@dataclass(frozen=True)
class RandomK(_ByPlace, Stored):
    """By chance: the first k of a permutation that the prompt's own generator draws.

    Attributes:
        seed: of the generators; every prompt of a batch has its own, from the same seed.
    """

    inputs: ClassVar[tuple[str, ...]] = ("generators",)
    needs_scores: ClassVar[bool] = False

    seed: int = 0

    def __post_init__(self) -> None:
        check_int("seed", self.seed, 0, 2**64 - 1)

    def places(self, n: int, k: int, row: int, tensors: Mapping[str, Any]) -> Tensor:
        """See above."""
        return torch.randperm(n, generator=tensors["generators"][row], dtype=torch.int64, device="cpu")[:k]
