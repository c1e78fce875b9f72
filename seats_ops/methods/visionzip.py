"""VisionZip: the tokens that the encoder looks at most, and evenly spread anchors into which the others are merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import MediaShape, Modality, TokenLayout, group_tokens
from seats_ops.methods import own_work
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.anchors import mean_merge, nearest_anchor, strided_anchors
from seats_ops.operators.chunks import chunk_tokens
from seats_ops.operators.items import found_shapes
from seats_ops.operators.scorers import Saliency
from seats_ops.operators.selection import Selection
from seats_ops.operators.stage import MEDIA, MEDIA_MODALITIES, KeepRatio, ratio_of
from seats_ops.operators.stored import Stored
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.schedule import Schedule
from seats_ops.validation import check_keep_ratio

AUDIO_WINDOW = 50
"""Two seconds at 25 tokens a second, whatever the model's rate is."""
PER = ("window", "item")
PAPER = "VisionZip, arXiv 2412.04467, section 3, code of JIA-Lab-research/VisionZip"
SEATS = "SEATS, arXiv 2605.20035, section 4 (baselines), code read at c553732"


@dataclass(frozen=True)
class DominantAndContextual(Stored):
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

    merges: ClassVar[bool] = True
    count_kind: ClassVar[str] = "shape"
    own_macs = own_work.contextual

    keep_ratio: KeepRatio
    per: str = field(default="window", kw_only=True)
    contextual: float = field(default=0.05, kw_only=True)
    reduction: str = field(default="sum", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep_ratio", check_keep_ratio("keep_ratio", self.keep_ratio, MEDIA))
        if self.per not in PER:
            raise ValueError(f"per: expected one of {PER}, got {self.per!r}")
        if self.per == "window" and ratio_of(self.keep_ratio, Modality.IMAGE) is not None:
            raise ValueError("keep_ratio: expected video and audio, which have windows, got image too")
        if not 0.0 <= self.contextual <= 1.0:
            raise ValueError(f"contextual: expected a share in [0, 1], got {self.contextual!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Keys tell what is near, features are merged."""
        return ("features", *Saliency(self.reduction).inputs, "keys", "grid")

    def __call__(
        self, features: Tensor, layout: TokenLayout, *, saliency: Tensor, keys: Tensor, backend: str = "auto"
    ) -> Selection:
        """See `Stage`; features [T, D] tell shapes only, saliency [T], keys [T, head_dim]."""
        kinds = [kind for kind in MEDIA_MODALITIES if ratio_of(self.keep_ratio, kind) is not None]
        groups = group_tokens(layout, "item", kinds) if self.per == "item" else chunk_tokens(layout, kinds, _window)
        dominant, contextual = self._numbers(groups.lengths, groups.modality)
        ids = groups.ids.to(saliency.device, non_blocking=True)
        kept = segment_topk(saliency.float(), ids, dominant.to(saliency.device, non_blocking=True), backend=backend)
        anchors = strided_anchors(groups, ~kept, groups.lengths - dominant, contextual)
        pairs = nearest_anchor(keys, ids, anchors, ~kept & ~anchors, eps=1e-6)
        return Selection(kept | anchors, merge=mean_merge(*pairs, anchors, own=1.0, others=1.0))

    def _numbers(self, lengths: Tensor, modality: Tensor) -> tuple[Tensor, Tensor]:
        """int64 [G] dominant and contextual tokens of groups of these lengths."""
        ratios = torch.tensor(
            [ratio_of(self.keep_ratio, kind) or 0.0 for kind in Modality], dtype=torch.float64, device="cpu"
        )
        ratio = ratios[modality]
        if self.per == "item":
            kept = (ratio * lengths).round().long().clamp(min=1).minimum(lengths)
            contextual = (self.contextual * kept).round().long().clamp(min=1).minimum(kept)
            return kept - contextual, contextual
        share = (ratio - self.contextual).float()
        dominant = torch.where(share > 0, (share * lengths).long().clamp(min=1), 0).minimum(lengths)
        contextual = (
            (torch.tensor(self.contextual, dtype=torch.float32, device="cpu") * lengths).round().long().clamp(min=1)
        )
        return dominant, contextual.minimum(lengths - dominant)

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`."""
        left = dict(found)
        for kind in MEDIA_MODALITIES:
            if ratio_of(self.keep_ratio, kind) is None or not found[kind.name.lower()]:
                continue
            shapes = found_shapes(type(self).__name__, found, kind)
            lengths = [shape.num_tokens for shape in shapes]
            if self.per == "window":
                full, short = divmod(sum(lengths), _window(shapes[0]))
                lengths = [_window(shapes[0])] * full + [short] * (short > 0)
            on_host: Any = {"dtype": torch.int64, "device": "cpu"}
            parts = self._numbers(torch.tensor(lengths, **on_host), torch.full((len(lengths),), int(kind), **on_host))
            left[kind.name.lower()] = int(torch.stack(parts).sum())
        return left


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
    audio="kept",
)


def _schedule(ratio: KeepRatio, variant: str, reduction: str | None) -> Schedule:
    if variant not in ("seats", "original"):
        raise ValueError(f"variant: expected seats or original, got {variant!r}")
    if variant == "seats":
        return Schedule(DominantAndContextual(ratio, reduction=reduction or "sum"))
    return Schedule(DominantAndContextual(ratio, per="item", contextual=10 / 64, reduction=reduction or "mean"))


@register_method("visionzip", SAID, f"{PAPER}; {SEATS}")
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
    return _schedule(ratio if isinstance(ratio, Mapping) else dict.fromkeys(seen, ratio), variant, reduction)


@register_method(
    "visionzip-om",
    Protocol(**{**SAID.__dict__, "group": f"{SAID.group}, {AUDIO_WINDOW} tokens of sound", "audio": "as video"}),
    f"{PAPER}; {SEATS}",
)
def visionzip_om(config: Any, ratio: KeepRatio, *, variant: str = "seats", reduction: str | None = None) -> Schedule:
    """VisionZip of video and audio; arguments as of `visionzip`, a number speaks for both."""
    return _schedule(ratio, variant, reduction)
