"""Small random models of the families beside Qwen2.5-Omni, and all of them by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeForConditionalGeneration,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

from tests.integrations.huggingface.models import VISION as _QWEN2_5_VISION
from tests.integrations.huggingface.models import randomise, small_thinker
from tests.integrations.huggingface.phi4_model import phi4

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_TEXT = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "pad_token_id": 297,
}
# Heads of 24 although 64 / 4 is 16; frequencies of the three axes alternate.
_QWEN3_TEXT = _TEXT | {"head_dim": 24, "rope_parameters": _ROPE | {"mrope_section": [6, 3, 3]}}
# One of the layers has no experts.
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "mlp_only_layers": [4]}
# Three layers of the decoder get features of their own, none of them from the last block.
_QWEN3_VISION = {
    "depth": 4,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_heads": 3,
    "patch_size": 4,
    "num_position_embeddings": 64,
    "out_hidden_size": 64,
    "deepstack_visual_indexes": [0, 1, 2],
}
# The encoder attends in segments of 39 positions, the paper in windows of 52.
_QWEN3_AUDIO = {
    "num_mel_bins": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "d_model": 32,
    "n_window": 50,
    "n_window_infer": 300,
    "downsample_hidden_size": 8,
    "output_dim": 64,
}
_VISION_TOKENS = {
    "image_token_id": 291,
    "video_token_id": 292,
    "vision_start_token_id": 293,
    "vision_end_token_id": 294,
}
_AUDIO_TOKENS = {"audio_token_id": 290, "audio_start_token_id": 295, "audio_end_token_id": 296}


def qwen3_omni_config() -> Qwen3OmniMoeThinkerConfig:
    """Of the small thinker."""
    return Qwen3OmniMoeThinkerConfig(
        text_config=_QWEN3_TEXT | _EXPERTS,
        vision_config=_QWEN3_VISION,
        audio_config=_QWEN3_AUDIO,
        position_id_per_seconds=13,
        pad_token_id=297,
        **_VISION_TOKENS,
        **_AUDIO_TOKENS,
    )


def _random(cls: Any, config: Any, attention: str) -> nn.Module:
    model = cls._from_config(config, attn_implementation=attention).eval()
    randomise(model, 0)
    return model


def _qwen3_omni(attention: str) -> nn.Module:
    return _random(Qwen3OmniMoeThinkerForConditionalGeneration, qwen3_omni_config(), attention)


def _qwen2_5_vl(attention: str) -> nn.Module:
    ends = {"bos_token_id": None, "eos_token_id": None}  # the usual ones lie outside this vocabulary
    text = _TEXT | ends | {"rope_parameters": _ROPE | {"mrope_section": [2, 3, 3]}}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=_QWEN2_5_VISION, **_VISION_TOKENS)
    return _random(Qwen2_5_VLForConditionalGeneration, config, attention)


def _qwen3_vl(attention: str) -> nn.Module:
    config = Qwen3VLConfig(text_config=_QWEN3_TEXT, vision_config=_QWEN3_VISION, **_VISION_TOKENS)
    return _random(Qwen3VLForConditionalGeneration, config, attention)


def _qwen3_vl_moe(attention: str) -> nn.Module:
    config = Qwen3VLMoeConfig(text_config=_QWEN3_TEXT | _EXPERTS, vision_config=_QWEN3_VISION, **_VISION_TOKENS)
    return _random(Qwen3VLMoeForConditionalGeneration, config, attention)


SMALL: dict[str, Callable[[str], nn.Module]] = {
    "qwen2_5_omni": small_thinker,
    "qwen3_omni": _qwen3_omni,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "qwen3_vl_moe": _qwen3_vl_moe,
    "phi4_multimodal": phi4,
}
"""Builds a random model of 7 layers; equal calls give equal weights."""


@functools.cache
def pristine_of(family: str) -> nn.Module:
    """The weights of a family's model in one that nothing is ever attached to: what the oracles compute with."""
    return SMALL[family]("eager")


def small_qwen3_omni_full(attention: str = "sdpa") -> Qwen3OmniMoeForConditionalGeneration:
    """The full model around the small thinker, without the part that speaks."""
    config = Qwen3OmniMoeConfig(thinker_config=qwen3_omni_config().to_dict(), enable_audio_output=False)
    return _random(Qwen3OmniMoeForConditionalGeneration, config, attention)
