"""Stage I of SEATS alone."""

from __future__ import annotations

from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.diversity_selector import DiversitySelector
from seats_ops.operators.stage import KeepRatio
from seats_ops.schedule import Schedule


@register_method(
    "seats-selector",
    Protocol(
        ratio="share that enters the LLM; a number is for video and audio",
        group="block",
        score="attention received in the encoder times max-min cosine distance",
    ),
    "SEATS (arXiv 2605.20035), section 3.1, code read at c553732",
)
def seats_selector(config: object, ratio: KeepRatio, *, weighted: bool = True, exact_total: bool = False) -> Schedule:
    """Stage I alone: a diverse, salient subset of every block.

    Args:
        config: not looked at.
        ratio: in [0, 1]; a mapping for the modalities it names.
        weighted: False leaves saliency out.
        exact_total: see `DiversitySelector`.
    """
    return Schedule(DiversitySelector(ratio, weighted=weighted, exact_total=exact_total))
