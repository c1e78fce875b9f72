"""VisionZip: the tokens that the encoder looks at most, and evenly spread anchors into which the others are merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import MediaShape, Modality, TokenLayout, group_tokens
from seats_ops.methods import own_work
from seats_ops.methods.arguments import AUDIO_WINDOW
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.anchor_merges import mean_merge
from seats_ops.operators.anchors import nearest_anchor, strided_anchors
from seats_ops.operators.by_modality import ByModality
from seats_ops.operators.chunks import chunk_tokens
from seats_ops.operators.items import found_shapes
from seats_ops.operators.scorers import BySaliency
from seats_ops.operators.select import counted_lengths
from seats_ops.operators.selection import Selection
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.schedule import Schedule
from seats_ops.validation import check_choice, check_ratio

PER = ("window", "item")
SOURCE = (
    "VisionZip, arXiv 2412.04467, section 3, code of JIA-Lab-research/VisionZip; "
    "SEATS, arXiv 2605.20035, section 4 (baselines), code read at c553732"
)


@dataclass(frozen=True)
class DominantAndContextual(BySaliency, ByModality, Stored):
    """Keeps the most salient tokens of a group, and anchors among the rest, every so many.

    What is left goes to the anchor whose keys are the nearest: anchor' = anchor + mean of its members.

    Attributes:
        keep_ratio: a number speaks for video and audio, a mapping for the modalities it names.
        per: "window": a frame of the prompt's first video, 50 tokens of sound, cut from the tokens of a modality in
            order; `contextual` is a share of all tokens, and numbers are worked out in float32. "item": `contextual` is
            a share of the tokens kept, 10 of 64 in the paper.
        contextual: share of anchors.
        reduction: of saliency, see `seats_ops.Stage`.
    """

    further: ClassVar[tuple[str, ...]] = ("keys", "grid")
    merges: ClassVar[bool] = True
    own_macs = own_work.contextual

    keep_ratio: KeepRatio
    per: str = field(default="window", kw_only=True)
    contextual: float = field(default=0.05, kw_only=True)
    reduction: str = field(default="sum", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("per", self.per, PER)
        check_ratio("contextual", self.contextual)
        if self.per == "window" and Modality.IMAGE in self.kinds:
            raise ValueError("keep_ratio: expected video and audio, which have windows, got image too")

    def __call__(
        self, features: Tensor, layout: TokenLayout, *, saliency: Tensor, keys: Tensor, backend: str = "auto"
    ) -> Selection:
        """See `Stage`; features [T, D] tell shapes only, saliency [T], keys [T, head_dim]."""
        by_item = self.per == "item"
        groups = group_tokens(layout, "item", self.kinds) if by_item else chunk_tokens(layout, self.kinds, _window)
        dominant, contextual = self._numbers(groups.lengths, groups.modality)
        ids = groups.ids.to(saliency.device, non_blocking=True)
        kept = segment_topk(saliency.float(), ids, dominant.to(saliency.device, non_blocking=True), backend=backend)
        anchors = strided_anchors(groups, ~kept, groups.lengths - dominant, contextual)
        member, anchor, _ = nearest_anchor(keys, ids, anchors, ~kept & ~anchors, eps=1e-6)
        return Selection(kept | anchors, merge=mean_merge(member, anchor, anchors, own=1.0, others=1.0))

    def _numbers(self, lengths: Tensor, modality: Tensor) -> tuple[Tensor, Tensor]:
        """int64 [G] dominant and contextual tokens of groups of these lengths."""
        ratio = self.shares()[modality]
        if self.per == "item":
            kept = (ratio * lengths).round().long().clamp(min=1).minimum(lengths)
            contextual = (self.contextual * kept).round().long().clamp(min=1).minimum(kept)
            return kept - contextual, contextual
        share = (ratio - self.contextual).float()
        dominant = torch.where(share > 0, (share * lengths).long().clamp(min=1), 0).minimum(lengths)
        contextual = (torch.full_like(share, self.contextual) * lengths).round().long().clamp(min=1)
        return dominant, contextual.minimum(lengths - dominant)

    def count_of(self, kind: Modality, found: Mapping[str, Any]) -> int:
        """See `ByModality`."""
        sizes = counted_lengths("item", kind, found)
        if self.per == "window":
            window = _window(found_shapes(type(self).__name__, found, kind)[0])
            full, short = divmod(sum(sizes), window)
            sizes = [window] * full + [short] * (short > 0)
        lengths = torch.tensor(sizes, dtype=torch.int64, device="cpu")
        return int(torch.stack(self._numbers(lengths, torch.full_like(lengths, int(kind)))).sum())


def _window(shape: MediaShape) -> int:
    return AUDIO_WINDOW if shape.modality == Modality.AUDIO else shape.h * shape.w


SAID = Protocol(
    ratio="share of the tokens that enters the LLM, 0.05 of it are anchors, at or below that nothing else is kept",
    group="a frame of the first video, of the modality's tokens in order (variant original: an item)",
    rounding="dominant floor, contextual round half to even, in float32 (original: both half to even, float64)",
    minimum="1 anchor, 1 dominant above a ratio of 0.05",
    score="attention received in the encoder's last layer, sum (original: mean over queries)",
    merge="every token left is added to the anchor with the nearest keys, as a mean",
    row_sum="2, 1 without members",
    audio="stays",
)


def with_variant(ratio: KeepRatio, variant: str, reduction: str | None) -> Schedule:
    if check_choice("variant", variant, ("seats", "original")) == "seats":
        return Schedule(DominantAndContextual(ratio, reduction=reduction or "sum"))
    return Schedule(DominantAndContextual(ratio, per="item", contextual=10 / 64, reduction=reduction or "mean"))


@register_method("visionzip", SAID, SOURCE)
def visionzip(config: Any, ratio: KeepRatio, *, variant: str = "seats", reduction: str | None = None) -> Schedule:
    """VisionZip of what is seen.

    Args:
        config: not looked at.
        ratio: a number speaks for video, and in the original for images too.
        variant: "seats": windows, as the SEATS paper runs it; "original": whole items.
        reduction: of saliency; None: sum, and in the original mean.

    Raises:
        ValueError: an unknown variant or reduction.
    """
    seen = ("video",) if variant == "seats" else ("video", "image")
    return with_variant(ratio if isinstance(ratio, Mapping) else dict.fromkeys(seen, ratio), variant, reduction)
