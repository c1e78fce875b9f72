"""PyramidDrop: at three layers, the tokens that the end of the question attends to most, ever fewer of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, group_tokens
from seats_ops.methods.arguments import chosen_layers, of_video
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.by_modality import ByModality
from seats_ops.operators.own_work import nothing
from seats_ops.operators.selection import Selection
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.schedule import Schedule

LAYERS, NUM_LAYERS = (8, 16, 24), 32
PROTOCOL = Protocol(
    ratio="of the tokens before any stage, the i-th drop leaves ratio ** i; the paper's is 0.5; a number is for video",
    group="modality of a prompt",
    score="attention of the last token of the question by the next layer's norm and projections, mean over heads",
    rounding="floor",
    minimum="0",
    positions="renumbered",
    kv="long",
    audio="stays",
)


@dataclass(frozen=True)
class PyramidDrop(ByModality, Stored):
    """Keeps int(share * N) of the N tokens that a modality of a prompt had before any stage.

    Attributes:
        keep_ratio: a number for video and audio, or a mapping for the modalities it names.
    """

    inputs: ClassVar[tuple[str, ...]] = ("scores:instruction/next", "counts")
    kv_rule: ClassVar[str] = "long"
    renumbers: ClassVar[bool] = True
    own_macs = nothing

    keep_ratio: KeepRatio

    def __call__(self, scores: Tensor, layout: TokenLayout, *, counts: Tensor, backend: str = "auto") -> Selection:
        """Scores float32 [T], counts int64 [B, 4] on the host."""
        groups = group_tokens(layout, "modality", self.kinds)
        budgets = (counts[groups.row, groups.modality] * self.shares()[groups.modality]).floor().long()
        device = scores.device
        keep_mask = segment_topk(scores, groups.ids.to(device), budgets.to(device), backend=backend)
        return Selection(keep_mask, positions="renumbered")

    def count_of(self, kind: Modality, found: Mapping[str, Any]) -> int:
        """See `ByModality`; without `found.before` this is taken for the first stage."""
        name = kind.name.lower()
        return min(found[name], int(self.share_of(kind) * getattr(found, "before", found)[name]))


@register_method("pyramiddrop", PROTOCOL, "PyramidDrop (arXiv 2410.17247), its drops between stages, released code")
def pyramiddrop(config: Any, ratio: KeepRatio, *, layers: Sequence[int] | None = None) -> Schedule:
    """Drops at three layers of an evenly cut decoder.

    Args:
        config: says how many layers there are.
        ratio: see the protocol line; a mapping for the modalities it names.
        layers: 1-based, after which tokens go; None: 8, 16 and 24 of 32, scaled by depth.

    Raises:
        ValueError: layers that do not ascend inside the model.
    """
    chosen = chosen_layers(config, layers, LAYERS, NUM_LAYERS)
    shares = [{name: share**i for name, share in of_video(ratio).items()} for i in range(1, len(chosen) + 1)]
    return Schedule(after_layer={layer: PyramidDrop(share) for layer, share in zip(chosen, shares, strict=True)})
