"""A small random Phi-4-multimodal."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import Phi4MultimodalConfig, Phi4MultimodalForCausalLM

from tests.integrations.huggingface.models import randomise

_TEXT = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "original_max_position_embeddings": 2048,
    "sliding_window": 8192,
    "pad_token_id": 297,
    "bos_token_id": None,
}
# Twelve of a head's sixteen dimensions turn.
_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.75,
    "short_factor": [1.0, 1.1, 1.2, 1.4, 1.7, 2.0],
    "long_factor": [1.0, 1.5, 2.5, 4.0, 6.0, 9.0],
}
# Pictures come in crops of 8 x 8 patches, four of which make a token.
_VISION = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": 32,
    "crop_size": 32,
    "patch_size": 4,
    "image_token_id": 291,
}
_AUDIO = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_blocks": 2,
    "num_attention_heads": 2,
    "ext_pw_out_channel": 32,
    "depthwise_separable_out_channel": 32,
    "nemo_conv_channels": 8,
    "input_size": 16,
    "audio_token_id": 290,
}


def phi4_config(vision: dict[str, Any] | None = None, **overrides: Any) -> Phi4MultimodalConfig:
    """Of the small model; as in the published one, its sliding window is wider than its context."""
    text = _TEXT | overrides
    original = {"original_max_position_embeddings": text["original_max_position_embeddings"]}
    config = Phi4MultimodalConfig(
        **text,
        rope_parameters=_ROPE | original,
        vision_config=_VISION | (vision or {}),
        audio_config=_AUDIO,
    )
    config.eos_token_id = None  # the usual ones lie outside this vocabulary
    return config


def phi4(attention: Any = "sdpa", **overrides: Any) -> nn.Module:
    """A random model; `overrides` replace entries of the config, under `vision` those of the vision encoder.

    FlashAttention is for the decoder only: the encoders cannot do with it.
    """
    if attention == "flash_attention_2":
        attention = {"": attention, "audio_config": "sdpa", "vision_config": "sdpa"}
    config = phi4_config(**overrides)
    model = Phi4MultimodalForCausalLM._from_config(config, attn_implementation=attention).eval()
    randomise(model, 0)
    # `generate` hands media to every step, where transformers fails over a placeholder that the model said itself.
    model.lm_head.weight.data[[config.audio_config.audio_token_id, config.vision_config.image_token_id]] = 0
    return model
