"""VisionZip-om: VisionZip of video and of audio."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seats_ops.methods.arguments import AUDIO_WINDOW
from seats_ops.methods.method import register_method
from seats_ops.methods.visionzip import SAID, SOURCE, with_variant
from seats_ops.operators.stage import KeepRatio
from seats_ops.schedule import Schedule


@register_method(
    "visionzip-om",
    replace(SAID, group=f"{SAID.group}, {AUDIO_WINDOW} tokens of sound", audio="as video"),
    SOURCE,
)
def visionzip_om(config: Any, ratio: KeepRatio, *, variant: str = "seats", reduction: str | None = None) -> Schedule:
    """VisionZip of video and audio; arguments as of `visionzip`, a number speaks for both."""
    return with_variant(ratio, variant, reduction)
