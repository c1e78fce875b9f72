"""V2Drop: at three layers, the tokens that the layer before changed most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from seats_ops.layout import TokenLayout
from seats_ops.methods.arguments import chosen_layers, of_video
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.own_work import of_all
from seats_ops.operators.select import Ratio, Select
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.schedule import Schedule
from seats_ops.validation import check_choice


class Variant(NamedTuple):
    """Layers of a model of so many, and what share of `ratio` each drop keeps of what is there."""

    layers: tuple[int, ...]
    num_layers: int
    shares: tuple[float, ...]


VARIANTS = {
    "llava": Variant((3, 17, 22), 32, (1.0, 1.0, 0.0)),
    "qwen2-vl": Variant((3, 16, 22), 28, (1.0, 0.2, 0.0)),
}
PROTOCOL = Protocol(
    ratio="of the tokens there, kept by the first drop; the second keeps as many (llava, paper: 0.5) or a fifth of the "
    "share (qwen2-vl, paper: 0.25), the third one token; a number is for video",
    group="modality of a prompt",
    score="Euclidean norm of what the layer changed in a hidden state, in float32",
    rounding="floor",
    kv="long",
    audio="stays",
)


@dataclass(frozen=True)
class StateChange(Stored):
    """How far a layer moved a token's hidden state."""

    inputs: ClassVar[tuple[str, ...]] = ("features", "previous")
    is_scorer: ClassVar[bool] = True
    own_macs = of_all

    def __call__(self, features: Tensor, layout: TokenLayout, *, previous: Tensor, backend: str = "auto") -> Tensor:
        """float32 [T]."""
        return (features.float() - previous.float()).norm(dim=-1)


@dataclass(frozen=True)
class SelectFromHere(Select):
    """`Select` whose choice holds for later layers alone: what earlier ones have of dropped tokens stays."""

    kv_rule: ClassVar[str] = "long"


@register_method("v2drop", PROTOCOL, "V2Drop (arXiv 2509.01552), its drops by variation, code read at 219e03e")
def v2drop(config: Any, ratio: KeepRatio, *, variant: str = "llava", layers: Sequence[int] | None = None) -> Schedule:
    """Drops of the tokens that change least.

    Args:
        config: says how many layers there are.
        ratio: see the protocol line; a mapping for the modalities it names.
        variant: "llava" or "qwen2-vl", which differ in layers and shares.
        layers: three, 1-based, after which tokens go; None: those of the variant, scaled by depth.

    Raises:
        ValueError: another variant, layers that are not three or do not ascend inside the model.
    """
    published = VARIANTS[check_choice("variant", variant, VARIANTS)]
    chosen = chosen_layers(config, layers, published.layers, published.num_layers)
    if len(chosen) != len(published.shares):
        raise ValueError(f"layers: expected {len(published.shares)}, got {chosen}")
    stages = {}
    for layer, share in zip(chosen, published.shares, strict=True):
        kept = {name: share * first for name, first in of_video(ratio).items()}
        stages[layer] = SelectFromHere(StateChange(), Ratio(kept, rounding="floor"))
    return Schedule(after_layer=stages)
