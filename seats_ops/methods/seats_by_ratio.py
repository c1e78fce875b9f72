"""SEATS by (config, ratio), as other methods are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from seats_ops.methods.method import Protocol, register_method
from seats_ops.methods.seats import PAPER_RATIOS, family_name, seats
from seats_ops.operators.stage import KeepRatio
from seats_ops.retention import paper_ratios
from seats_ops.schedule import Schedule


@register_method(
    "seats",
    Protocol(
        ratio="averaged over all layers; a number is the paper's R: its pairs for video and audio at 0.10, 0.15, 0.25 "
        "and 0.35, straight lines between them",
        group="block before the LLM; window and modality inside",
        score="attention received in the encoder times max-min cosine distance; attention of the last text token by "
        "the layer's own norm and projections on its output, mean over heads",
        kv="sliced",
        count="shape, data",
    ),
    "SEATS (arXiv 2605.20035), section 3, code read at c553732",
)
def seats_by_ratio(
    config: Any,
    ratio: KeepRatio,
    *,
    drop_layers: Sequence[int] | None = None,
    late_layer: int | Literal["family"] | None = "family",
    temperature: float | None = None,
    encoder_ratio_scale: float = 1.4,
    windows: str = "layout",
    exact_total: bool = False,
) -> Schedule:
    """`seats_ops.seats` for a retention R or for ratios of video and audio.

    Args:
        config: of a whole model or its thinker.
        ratio: R, or a mapping of video and audio, those that the model takes.
        drop_layers, late_layer, temperature, encoder_ratio_scale, windows, exact_total: see `seats_ops.seats`.

    Raises:
        TypeError, ValueError: as `seats_ops.seats`; an R above the paper's highest.
    """
    video: float | None
    audio: float | None
    if isinstance(ratio, Mapping):
        ratios = check_names(ratio)
        video, audio = ratios.get("video"), ratios.get("audio")
    else:
        pairs = PAPER_RATIOS.get(family_name(config), {})
        # The line through the pairs meets them to rounding; theirs are meant to be theirs.
        published = [pair for percent, pair in pairs.items() if percent / 100 == ratio]
        video, audio = published[0] if published else paper_ratios(config, ratio)
    return seats(
        config,
        video,
        audio,
        drop_layers=drop_layers,
        late_layer=late_layer,
        temperature=temperature,
        encoder_ratio_scale=encoder_ratio_scale,
        windows=windows,
        exact_total=exact_total,
    )


def check_names(ratio: Mapping[str, float]) -> dict[str, float]:
    """Ratios of video and audio. ValueError: of something else."""
    if not set(ratio) <= {"video", "audio"}:
        raise ValueError(f"ratio: expected ratios of video and audio, got {sorted(ratio)}")
    return dict(ratio)
