"""CDPruner: a diverse subset by a determinantal point process, conditioned on the question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, group_tokens
from seats_ops.methods import own_work
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.by_modality import ByModality
from seats_ops.operators.select import counted_lengths
from seats_ops.operators.stage import KeepRatio, num_kept
from seats_ops.operators.stored import Stored
from seats_ops.ops.greedy_dpp.api import greedy_dpp
from seats_ops.schedule import Schedule
from seats_ops.validation import check_bool, check_int, check_ratio


@dataclass(frozen=True)
class ConditionalDpp(ByModality, Stored):
    """Keeps of every item a subset of large determinant of q_i cos(x_i, x_j) q_j, by greedy picks.

    q comes from the relevance to the question, the mean cosine with its tokens as they enter the LLM, times -1 as
    published, scaled to [0, 1] over the prompt's tokens of the modality. A prompt without a question, or one to which
    everything is equally relevant, has q = 1.

    Attributes:
        keep_ratio: a number speaks for video and audio, a mapping for the modalities it names.
        theta: weight of relevance in [0, 1): q becomes exp(q theta / (2 (1 - theta))); None: q itself.
        inverted: relevance is minus the cosine, as CLIP's features, for which it was published, ask for.
        split_above: items of more tokens are cut into halves that each keep half as many, the second one the odd token;
            0: none is.
    """

    inputs: ClassVar[tuple[str, ...]] = ("features", "grid", "question")
    own_macs = own_work.conditional_dpp

    keep_ratio: KeepRatio
    theta: float | None = field(default=None, kw_only=True)
    inverted: bool = field(default=True, kw_only=True)
    split_above: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.theta is not None and not check_ratio("theta", self.theta) < 1.0:
            raise ValueError(f"theta: expected None or a weight in [0, 1), got {self.theta!r}")
        check_bool("inverted", self.inverted)
        check_int("split_above", self.split_above, 0)

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        """bool [T] keep mask; features [T, D]."""
        items, device = group_tokens(layout, "item", self.kinds), features.device
        index, _ = items.packed()
        lengths, budgets = [], []
        for n, kind in zip(items.lengths.tolist(), items.modality.tolist(), strict=True):
            kept = num_kept(n, self.share_of(kind))
            halves = self.split_above and n > self.split_above
            lengths += [n // 2, n - n // 2] if halves else [n]
            budgets += [kept // 2, kept - kept // 2] if halves else [kept]
        offsets = torch.tensor([0, *lengths], dtype=torch.int64, device="cpu").cumsum(0)
        found = greedy_dpp(
            features,
            offsets.to(device, non_blocking=True),
            torch.tensor(budgets, dtype=torch.int64, device="cpu").to(device, non_blocking=True),
            quality=self._quality(features, layout)[index.to(device)],
            index=index.to(device, non_blocking=True),
            max_seqlen=max(lengths, default=0),
            max_keep=max(budgets, default=0),
            backend=backend,
        )
        return (items.ids < 0).to(device, non_blocking=True).index_copy_(0, index.to(device), found)

    def _quality(self, features: Tensor, layout: TokenLayout) -> Tensor:
        """float32 [T], 1 outside the modalities and where nothing tells tokens apart."""
        plan, device = layout.plan(), features.device
        groups = group_tokens(layout, "modality", self.kinds)
        quality = torch.ones(len(layout), dtype=torch.float32, device=device)
        if plan.question is None:
            raise ValueError("layout: expected one with question, got None")
        index, _ = groups.packed()
        for row, tokens in zip(groups.row.tolist(), index.split(groups.lengths.tolist()), strict=True):
            asks = (plan.question & (plan.rows() == row)).nonzero().squeeze(1)
            if not len(asks):
                continue
            mine = tokens.to(device, non_blocking=True)
            asked, x = (torch.nn.functional.normalize(features[i.to(device)].float(), dim=-1) for i in (asks, mine))
            score = (x * asked.mean(0)).sum(-1) * (-1.0 if self.inverted else 1.0)
            spread = score.max() - score.min()
            scaled = (score - score.min() + 1e-6) / spread
            quality[mine] = torch.where(spread > 1e-6, scaled, 1.0)
        return quality if self.theta is None else (quality * (self.theta / (2.0 * (1.0 - self.theta)))).exp()

    def count_of(self, kind: Modality, found: Mapping[str, Any]) -> int:
        """See `ByModality`."""
        return sum(num_kept(n, self.share_of(kind)) for n in counted_lengths("item", kind, found))


@register_method(
    "cdpruner",
    Protocol(
        ratio="share of an item's tokens that enters the LLM",
        group="an item, with split_above, halves of large ones",
        score="q_i cos(x_i, x_j) q_j of what enters the LLM, q is minus the mean cosine with the question's tokens "
        "there (CLIP's text tower in the paper), min-max over a prompt's modality (over the batch in the code)",
        audio="stays",
    ),
    "CDPruner, arXiv 2506.10967, section 3; code read at Theia-4869/CDPruner 9541616; halves: openvino.genai da1db864",
)
def cdpruner(
    config: Any, ratio: KeepRatio, *, theta: float | None = None, inverted: bool = True, split_above: int = 0
) -> Schedule:
    """CDPruner, asked by the question as the LLM sees it.

    Args:
        config: not looked at.
        ratio: a number speaks for video and images, a mapping for the modalities it names.
        theta, inverted, split_above: see `ConditionalDpp`.

    Raises:
        ValueError: a theta outside [0, 1), a split_above that is no count.
    """
    ratios = ratio if isinstance(ratio, Mapping) else {"video": ratio, "image": ratio}
    return Schedule(ConditionalDpp(ratios, theta=theta, inverted=inverted, split_above=split_above))
