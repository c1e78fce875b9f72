"""Tokens that the query looks at little, merged inside the LLM into those it looks at (HoliTom)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, group_tokens
from seats_ops.operators.anchor_merges import halving_merge
from seats_ops.operators.anchors import nearest_anchor
from seats_ops.operators.selection import Selection
from seats_ops.operators.stage import num_kept
from seats_ops.operators.stored import Stored
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.validation import check_ratio


@dataclass(frozen=True)
class MergedIntoRelevant(Stored):
    """After a layer, keeps the video tokens that the query looks at most and merges each other one into the most alike.

    Members come one after another, in order, and each becomes half of what is there then: kept' = (kept + member) / 2.

    Attributes:
        keep_ratio: share of a prompt's video tokens that are there.

    Example:
        >>> from seats_ops.operators.merged_into_relevant import MergedIntoRelevant
        >>> MergedIntoRelevant(0.5).inputs
        ('features', 'scores:last_text/attention')
    """

    inputs: ClassVar[tuple[str, ...]] = ("features", "scores:last_text/attention")
    merges: ClassVar[bool] = True
    count_kind: ClassVar[str] = "shape"
    kv_rule: ClassVar[str] = "long"

    keep_ratio: float = 0.5

    def __post_init__(self) -> None:
        check_ratio("keep_ratio", self.keep_ratio)

    def __call__(self, features: Tensor, layout: TokenLayout, *, scores: Tensor, backend: str = "auto") -> Selection:
        """See `Stage`; features [T, D], scores [T]."""
        groups = group_tokens(layout, "modality", [Modality.VIDEO])
        budgets = torch.tensor(
            [num_kept(n, self.keep_ratio) for n in groups.lengths.tolist()], dtype=torch.int64, device="cpu"
        )
        ids = groups.ids.to(features.device, non_blocking=True)
        kept = segment_topk(scores.float(), ids, budgets.to(features.device, non_blocking=True), backend=backend)
        member, anchor, _ = nearest_anchor(features, ids, kept, ~kept)
        return Selection(kept, merge=halving_merge(member, anchor, len(layout)))

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`."""
        return {**found, "video": num_kept(found["video"], self.keep_ratio)}

    def own_macs(self, found: Mapping[str, int], sizes: Any) -> int:
        """See `Stage`: every other token with every kept one, and the merge of all."""
        n, kept = found["video"], num_kept(found["video"], self.keep_ratio)
        return ((n - kept) * kept + n) * int(sizes.hidden)
