"""OmniSelect: the modality that fits the question better has its budgets follow relevance; both are pruned by time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import Groups, Modality, TokenLayout, group_tokens
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.by_modality import ByModality
from seats_ops.operators.grouped import Grouped
from seats_ops.operators.own_work import of_video
from seats_ops.operators.relevance_drops import leading_drops
from seats_ops.operators.scorers import BySaliency
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.schedule import Schedule
from seats_ops.validation import check_choice, check_int

VERSIONS = ("repaired", "release")
BOTH = (Modality.VIDEO, Modality.AUDIO)


@dataclass(frozen=True)
class OmniSelectTimes(BySaliency, ByModality, Stored):
    """Keeps of every window the most attended sound, and the video least like its window's.

    Attributes:
        keep_ratio: share of video and sound.
        version: "repaired"; or "release", in which the last token of sound of every window and the last one of video
            of a prompt's last window are never looked at, and go.
        margin: where the mean relevances of a prompt, without their fractions, differ by no more, no modality leads.
        reduction: of attention, see `seats_ops.Stage`.
    """

    further: ClassVar[tuple[str, ...]] = ("external:video_relevance", "external:audio_relevance")
    known: ClassVar[tuple[str, ...]] = ("video", "audio")
    count_kind: ClassVar[str] = "data"
    own_macs = of_video  # with the sum of a window
    keep_ratio: KeepRatio
    version: str = field(default="repaired", kw_only=True)
    margin: int = field(default=2, kw_only=True)
    reduction: str = field(default="mean", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("version", self.version, VERSIONS)
        check_int("margin", self.margin, 0)

    def count_of(self, kind: Modality, found: Mapping[str, Any]) -> int:
        """A prediction, of one window; see `ByModality`."""
        return min(found[kind.name.lower()], _kept(found[kind.name.lower()], 1.0 - self.share_of(kind)))

    def count_bounds(self, found: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """(least, most) by modality, see `Stage`."""
        pruned = [kind.name.lower() for kind in self.kinds]
        return {name: (0 if name in pruned else n, n) for name, n in found.items()}

    def __call__(
        self,
        features: Tensor,
        layout: TokenLayout,
        *,
        saliency: Tensor,
        video_relevance: Tensor,
        audio_relevance: Tensor,
        backend: str = "auto",
    ) -> Tensor:
        """bool [T]; the mean relevance of every window is read."""
        groups = [group_tokens(layout, "window", [kind]) for kind in BOTH]
        scores = zip(groups, (video_relevance, audio_relevance), strict=True)
        relevance = torch.cat([Grouped(of, features.device).mean(score[:, None])[:, 0] for of, score in scores])
        if not all(map(math.isfinite, read := relevance.tolist())):
            raise ValueError("video_relevance, audio_relevance: expected finite numbers, got others")
        losses = [1.0 - self.share_of(kind) if kind in self.kinds else 0.0 for kind in BOTH]
        drops = leading_drops(groups, [read[: len(groups[0])], read[len(groups[0]) :]], losses, self.margin)
        keep_mask = torch.ones_like(layout.modality, dtype=torch.bool)
        for kind, of, lost in zip(BOTH, groups, drops, strict=True):
            overlooks = self.version == "release" and kind in self.kinds
            seen = _overlooking(of, kind) if overlooks else of
            looked = Grouped(seen, features.device)
            sizes = zip(of.lengths.tolist(), seen.lengths.tolist(), lost, strict=True)
            budget = looked.counts([min(m, _kept(n, drop)) for n, m, drop in sizes])
            score = -looked.affinity(features) if kind == Modality.VIDEO else saliency
            kept = segment_topk(score, looked.ids, budget, backend=backend)
            keep_mask &= kept & ~((of.ids >= 0) & (seen.ids < 0)).to(features.device, non_blocking=True)
        return keep_mask


def _kept(n: int, drop: float | Tensor) -> int:
    return int(max(1, n * (1.0 - drop)))


def _overlooking(groups: Groups, kind: Modality) -> Groups:
    """Groups without the tokens that the release does not look at."""
    index, cu_seqlens = groups.packed()
    gone = torch.ones(len(groups), dtype=torch.bool, device="cpu")
    if kind == Modality.VIDEO:
        gone[:-1] = groups.row.diff() > 0
    return groups.only((groups.ids >= 0).index_fill(0, index[cu_seqlens[1:].long() - 1][gone], False))


@register_method(
    "omniselect",
    Protocol(
        "share that enters the LLM",
        "window of one modality, as much of each; of the modality that leads, by relevance",
        "sound: attention, mean of queries; video: minus the mean product with its window's video",
        rounding="floor of tokens * (1 - drop share)",
        count="data",
        supplied="video_relevance, audio_relevance: logits of AudioCLIP there",
    ),
    "OmniSelect (arXiv 2605.18041), code read at 9435948",
)
def omniselect(
    config: Any, ratio: KeepRatio, *, version: str = "repaired", margin: int = 2, reduction: str = "mean"
) -> Schedule:
    """Windows pruned by attention and likeness, with budgets by relevance in the modality that leads.

    It asks for "external:video_relevance" and "external:audio_relevance": how well the frame of a token of video, or
    the second of a token of sound, fits the question, e.g. logits of AudioCLIP; what stands at other tokens is not
    looked at.

    Args:
        config: not looked at.
        ratio: kept share of video and sound, or of those that a mapping names; the others stay.
        version, margin, reduction: see `OmniSelectTimes`.

    Raises:
        ValueError: a ratio of something else, another version or reduction, a margin below 0.
    """
    return Schedule(OmniSelectTimes(ratio, version=version, margin=margin, reduction=reduction))
