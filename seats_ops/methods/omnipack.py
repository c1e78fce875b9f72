"""OmniPack: coverage of each modality before the LLM, what matters to text and the other modality inside it; merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout
from seats_ops.layout.extents import relative_places
from seats_ops.methods import own_work
from seats_ops.methods.method import Protocol, register_method
from seats_ops.methods.one_layer import one_layer
from seats_ops.operators.anchor_merges import weighted_merge
from seats_ops.operators.anchors import near_in_place, nearest_anchor
from seats_ops.operators.by_modality import ByModality
from seats_ops.operators.coverage import covering
from seats_ops.operators.events import before_in_media, cosine, event_evidence, neighbour_change
from seats_ops.operators.grouped import Grouped, row_means
from seats_ops.operators.select import Ratio
from seats_ops.operators.selection import Selection
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.ops.max_min_diversity.api import max_min_diversity
from seats_ops.schedule import Schedule
from seats_ops.validation import check_keep_ratio


@dataclass(frozen=True)
class OmniPackCoverage(ByModality, Stored):
    """Of each modality of a prompt the most salient tokens, then density peaks of the rest; what goes is merged.

    Attributes:
        keep_ratio: share that enters the LLM.
    """

    inputs: ClassVar[tuple[str, ...]] = ("features", "saliency", "grid")
    merges: ClassVar[bool] = True
    own_macs = own_work.coverage

    keep_ratio: KeepRatio

    def __call__(self, features: Tensor, layout: TokenLayout, *, saliency: Tensor, backend: str = "auto") -> Selection:
        """Keep mask and merge: 0.62 (video) or 0.65 (sound) of a kept token, the rest the mean of its cluster."""
        host, budgets = Ratio(self.keep_ratio)(None, layout)
        groups, places = Grouped(host, features.device), relative_places(layout).to(features.device)
        seen = layout.is_modality(Modality.VIDEO)
        change = neighbour_change(features, before_in_media(layout), backend=backend)
        event = groups.minmax(event_evidence(features, layout, groups, change))
        attention = groups.minmax(saliency)
        scale = min(1.0, max(0.0, (self.share_of(Modality.VIDEO) - 0.14) / 0.28))
        video = attention * (1.0 + 0.35 * (0.35 + 0.65 * scale) * event) + 1e-6
        salience = torch.where(seen, video, attention + 0.25 * groups.minmax(change))
        shares = [0.25 if kind == Modality.VIDEO else 0.35 for kind in host.modality.tolist()]
        kept = covering(features, groups, budgets, salience, places, shares, backend=backend)
        near = near_in_place(places, torch.where(seen, 0.10, 0.05), 0.10 * groups.minmax(salience, kept))
        member, anchor, _ = nearest_anchor(features, groups.ids, kept, ~kept, adjust=near)
        weight = 0.5 + 0.5 * groups.minmax(salience, ~kept)[member]
        return Selection(kept, merge=weighted_merge(member, anchor, weight, torch.where(seen, 0.62, 0.65)))


@dataclass(frozen=True)
class OmniPackRelevance(ByModality, Stored):
    """Of each modality of a prompt tokens that matter to text and the other modality, and differ; what goes is merged.

    Text is all that is neither video nor sound.

    Attributes:
        keep_ratio: share of the tokens that are there.
    """

    inputs: ClassVar[tuple[str, ...]] = ("features",)
    merges: ClassVar[bool] = True
    own_macs = own_work.relevance

    keep_ratio: KeepRatio

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Selection:
        """Keep mask and merge: (token + weighted sum of its cluster) / (1 + weights)."""
        host, budgets = Ratio(self.keep_ratio)(None, layout)
        groups = Grouped(host, features.device)
        relevance = torch.stack([groups.minmax(score) for score in self._scores(features, layout)]).sum(0)
        picked = max_min_diversity(
            features,
            groups.cu_seqlens,
            budgets.to(features.device, non_blocking=True),
            weights=1.0 + groups.minmax(relevance)[groups.index],
            index=groups.index,
            max_seqlen=groups.longest,
            max_keep=int(budgets.max()) if len(budgets) else 0,
            first="weight",
            backend=backend,
        )
        kept = (groups.ids < 0).index_copy_(0, groups.index, picked)
        member, anchor, near = nearest_anchor(features, groups.ids, kept, ~kept)
        alike = ((near + 1.0) * 0.5).clamp(0.0, 1.0).square()
        weight = alike * (0.5 + 0.5 * groups.minmax(relevance, ~kept)[member])
        return Selection(kept, merge=weighted_merge(member, anchor, weight, torch.zeros_like(relevance)))

    def _scores(self, features: Tensor, layout: TokenLayout) -> list[Tensor]:
        """float32 [T] each: likeness to text, likeness to the mean of the other modality, density."""
        rows, (seen, heard) = layout.rows(), (layout.is_modality(kind) for kind in (Modality.VIDEO, Modality.AUDIO))
        token, _, near = nearest_anchor(features, rows, ~(seen | heard), seen | heard)
        asked = cosine(features, row_means(features, layout, Modality.TEXT, Modality.IMAGE)[rows])
        asked = torch.maximum(asked, torch.full_like(asked, -1.0).index_copy_(0, token, near))

        def mean(x: Tensor, *kinds: Modality) -> Tensor:
            video, audio = (row_means(x, layout, kind)[rows] for kind in kinds)
            return torch.where(seen[:, None], video, audio)

        other, unit = mean(features, Modality.AUDIO, Modality.VIDEO), torch.nn.functional.normalize(features.float())
        apart = 1.0 - (unit * mean(unit, Modality.VIDEO, Modality.AUDIO)).sum(-1)
        return [asked, cosine(features, other), (-apart).exp()]


@register_method(
    "omnipack",
    Protocol(
        "share after the inner stage; twice as much enters the LLM",
        "modality of a prompt",
        "before: attention, sum over a window, and change; inside: likeness to text and to the other modality, density",
        merge="what goes joins its best token: 0.62 or 0.65 of that + the weighted mean; inside the weighted mean",
        row_sum="1",
        kv="sliced",
    ),
    "OmniPack (arXiv 2608.03812), code read at 9064356; here frames are those of their own video",
)
def omnipack(config: Any, ratio: KeepRatio, *, layers: Sequence[int] | None = None) -> Schedule:
    """Coverage before the LLM, relevance after layer 18 of 28 (scaled by depth), merges at both.

    Args:
        config: says how many layers there are.
        ratio: kept share of video and sound, or of those that a mapping names, above 0.
        layers: the one of the inner stage.

    Raises:
        ValueError: a ratio of 0 or of something else, not one layer.
    """
    ratios = check_keep_ratio("ratio", ratio, ("video", "audio"))
    shares = dict(ratios) if isinstance(ratios, Mapping) else {"video": ratios, "audio": ratios}
    if not all(shares.values()):
        raise ValueError(f"ratio: expected shares above 0, as half of what enters the LLM is left, got {ratio}")
    entering = {name: min(1.0, 2.0 * share) for name, share in shares.items()}
    late = {name: share / entering[name] for name, share in shares.items()}
    return Schedule(OmniPackCoverage(entering), {one_layer(config, layers, 18, 28): OmniPackRelevance(late)})
