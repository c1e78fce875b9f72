"""DART: a few pivots, and the tokens that are least like each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, group_tokens
from seats_ops.methods import own_work
from seats_ops.methods.arguments import num_layers, of_video
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.by_modality import ByModality
from seats_ops.operators.select import counted_lengths
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.schedule import Schedule
from seats_ops.validation import check_int

PROTOCOL = Protocol(
    ratio="share that picks aim at, p + floor(ratio n / pivots) pivots are kept; a number is for video",
    group="item; text pivots are of the text after it",
    score="pivots: L1 norm of features, where the release takes keys of the decoder; picks: lowest cosine to a pivot",
    rounding="floor, by pivot",
    minimum="the item's own pivots",
    kv="-; after a layer: sliced",
    audio="stays",
)


@dataclass(frozen=True)
class PivotRepulsion(ByModality, Stored):
    """Keeps an item's pivots, and for every pivot in turn int(keep_ratio * n / pivots) tokens least like it.

    Pivots are the item's tokens with the largest L1 norm, then those of the text after it; each list is visited from
    its largest norm on, and a token that was picked is not picked again.

    Attributes:
        keep_ratio: a number for video and audio, or a mapping for the modalities it names.
        media_pivots, text_pivots: how many of each, where there are as many.
    """

    inputs: ClassVar[tuple[str, ...]] = ("features", "grid")
    own_macs = own_work.pivots

    keep_ratio: KeepRatio
    media_pivots: int = field(default=4, kw_only=True)
    text_pivots: int = field(default=4, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("media_pivots", self.media_pivots, 1)
        check_int("text_pivots", self.text_pivots, 0)

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        """Features [T, D]; bool [T]."""
        groups, device = group_tokens(layout, "item", self.kinds), features.device
        ids = groups.ids.to(device)
        keep_mask = ids < 0
        if not len(groups):
            return keep_mask
        x, plan = features.float(), layout.plan()
        norms, text = x.abs().sum(-1), plan.is_modality(Modality.TEXT).nonzero().squeeze(1)
        rows, picks = [], []
        for g, mine in enumerate(groups.packed()[0].split(groups.lengths.tolist())):
            after = text[(text > mine[-1]) & (text < plan.cu_seqlens[groups.row[g] + 1])]
            own, asked = min(self.media_pivots, len(mine)), min(self.text_pivots, len(after))
            picks.append(self._picks(int(groups.modality[g]), len(mine), own + asked))
            ranked = [_largest(norms, mine.to(device), own), _largest(norms, after.to(device), asked)]
            keep_mask[ranked[0]] = True
            room = self.media_pivots + self.text_pivots - own - asked
            rows.append(torch.nn.functional.pad(torch.cat(ranked), (0, room), value=-1))
        each = torch.tensor(picks, dtype=torch.int64, device="cpu").to(device)
        unit = x / (x.norm(dim=-1, keepdim=True) + 1e-8)
        for pivot in torch.stack(rows, 1):
            mine = pivot[ids.clamp(min=0)]
            cosine = (unit * unit[mine.clamp(min=0)]).sum(-1)
            left = (ids >= 0) & ~keep_mask
            picked = segment_topk(-cosine, torch.where(left, ids, -1), each * (pivot >= 0), backend=backend)
            keep_mask = keep_mask | picked & left
        return keep_mask

    def _picks(self, kind: int, length: int, pivots: int) -> int:
        return int(self.share_of(kind) * length / pivots)

    def count_of(self, kind: Modality, found: Mapping[str, Any]) -> int:
        """See `ByModality`; takes it that as much text follows every item as there are pivots."""
        left = 0
        for n in counted_lengths("item", kind, found):
            own = min(self.media_pivots, n)
            pivots = own + min(self.text_pivots, found["text"])
            left += min(n, own + pivots * self._picks(kind, n, pivots))
        return left


def _largest(norms: Tensor, tokens: Tensor, most: int) -> Tensor:
    """The tokens with the largest norms, from the largest one on."""
    return tokens[norms[tokens].argsort(descending=True, stable=True)[:most]]


@register_method(
    "dart",
    PROTOCOL,
    "DART (arXiv 2502.11494), its pivots, a copy of its code read in VTC-Bench; on embeddings as in TensorRT-Edge-LLM",
)
def dart(config: Any, ratio: KeepRatio, *, layer: int = 0, media_pivots: int = 4, text_pivots: int = 4) -> Schedule:
    """Pivots, and what is least like them.

    Args:
        config: says how many layers there are; not looked at for layer 0.
        ratio: see the protocol line; a mapping for the modalities it names.
        layer: 0 acts on the embeddings, else 1-based, on hidden states.
        media_pivots, text_pivots: see `PivotRepulsion`.

    Raises:
        ValueError: a layer there is not, a number of pivots below 1, or 0 of text.
    """
    stage = PivotRepulsion(of_video(ratio), media_pivots=media_pivots, text_pivots=text_pivots)
    if layer == 0:
        return Schedule(stage)
    return Schedule(after_layer={check_int("layer", layer, 0, num_layers(config) - 1): stage})
