"""What the SEATS paper sets for each model family, and which family a config is of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from seats_ops.methods.arguments import decoder_config


@dataclass(frozen=True)
class Family:
    """The paper's settings for one model family (SEATS section 4.1); layers are 1-based and scale with depth.

    Attributes:
        num_layers: of the model that the layers are given for.
        drop_layers, late_layer, temperature: see `seats`.
        sees_video, hears: whether its models take video and audio.
    """

    num_layers: int
    drop_layers: tuple[int, ...]
    late_layer: int
    temperature: float
    sees_video: bool = True
    hears: bool = True

    def scaled(self, layer: int, num_layers: int) -> int:
        """What a layer becomes in a model of so many."""
        return round(layer * num_layers / self.num_layers)


_QWEN2_5 = Family(num_layers=28, drop_layers=(16, 18, 20), late_layer=24, temperature=0.1)
_QWEN3 = Family(num_layers=48, drop_layers=(27, 31, 35), late_layer=40, temperature=0.3)
# The paper covers the two Omni families; a video-only family takes the settings of the one it shares its decoder with.
# Nobody published settings for Phi-4: it takes those of the other dense decoder, by depth.
FAMILIES = {
    "qwen2_5_omni": _QWEN2_5,
    "qwen3_omni_moe": _QWEN3,
    "qwen2_5_vl": replace(_QWEN2_5, hears=False),
    "qwen3_vl": replace(_QWEN3, hears=False),
    "qwen3_vl_moe": replace(_QWEN3, hears=False),
    "phi4_multimodal": replace(_QWEN2_5, sees_video=False),
}
PAPER_RATIOS = {
    "qwen2_5_omni": {35: (0.30, 0.65), 25: (0.20, 0.55), 15: (0.10, 0.45), 10: (0.06, 0.35)},
    "qwen3_omni_moe": {35: (0.32, 0.70), 25: (0.22, 0.60), 15: (0.12, 0.50), 10: (0.07, 0.45)},
}
"""Family -> retention in percent -> (video, audio) retention ratios (arXiv 2605.20035, main results)."""


def family_name(config: Any) -> str:
    """The key in `FAMILIES` for the config of a whole model or its thinker. Raises TypeError: it is none's."""
    thinker = getattr(config, "thinker_config", config)
    model_type = str(getattr(thinker, "model_type", "")).removesuffix("_thinker")
    if model_type not in FAMILIES or not hasattr(decoder_config(config), "num_hidden_layers"):
        raise TypeError(
            f"config: expected that of a whole model or a thinker of {tuple(FAMILIES)}, got {type(config).__name__}"
        )
    return model_type
