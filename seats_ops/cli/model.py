"""The demo's model: Qwen2.5-Omni's own architecture at one sixteenth of the 7B's width, or a real checkpoint."""

from __future__ import annotations

import torch
from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

from .checkpoints import SUCH_AS, may_be_a_model, named_checkpoint

SCALE = 16
"""The demo model is this many times narrower than Qwen2.5-Omni-7B; its 28 layers and its vocabulary are the 7B's."""


def qwen2_5_omni_7b_config() -> Qwen2_5OmniThinkerConfig:
    """The thinker of Qwen2.5-Omni-7B, from its published config.json; for cost figures, never built here."""
    return named_checkpoint("7b").config()


def demo_config() -> Qwen2_5OmniThinkerConfig:
    """The 7B's thinker at a sixteenth of every width: a quarter of the heads, each a quarter as wide.

    The language model keeps its 28 layers, so that drops after layers 16, 18, 20 and the late drop before layer 24
    mean what they mean on the 7B. The encoders, whose work no schedule changes, have 4 layers instead of 32.
    """
    full = qwen2_5_omni_7b_config()
    text, vision, audio = full.text_config, full.vision_config, full.audio_config
    return Qwen2_5OmniThinkerConfig(
        text_config={
            "vocab_size": text.vocab_size,
            "hidden_size": text.hidden_size // SCALE,
            "intermediate_size": text.intermediate_size // SCALE,
            "num_hidden_layers": text.num_hidden_layers,
            "num_attention_heads": text.num_attention_heads // 4,
            "num_key_value_heads": text.num_key_value_heads // 4,
            "rope_parameters": {**text.rope_parameters, "mrope_section": [4, 6, 6]},
        },
        vision_config={
            "depth": 4,
            "hidden_size": vision.hidden_size // SCALE,
            "intermediate_size": vision.intermediate_size // SCALE,
            "num_heads": vision.num_heads // 4,
            "out_hidden_size": vision.out_hidden_size // SCALE,
            "fullatt_block_indexes": [1, 3],
        },
        audio_config={
            "encoder_layers": 4,
            "d_model": audio.d_model // SCALE,
            "encoder_ffn_dim": audio.encoder_ffn_dim // SCALE,
            "encoder_attention_heads": audio.encoder_attention_heads // 4,
            "output_dim": audio.output_dim // SCALE,
        },
        vision_start_token_id=full.vision_start_token_id,
        vision_end_token_id=full.vision_end_token_id,
    )


def random_model(
    config: Qwen2_5OmniThinkerConfig, *, seed: int = 0, device: str | torch.device = "cpu"
) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """The real architecture with random weights: equal seeds, equal weights; the caller's generator is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5OmniThinkerForConditionalGeneration._from_config(config)
    return model.to(device).eval()


def load_checkpoint(
    model: str, *, device: str | torch.device, dtype: str | torch.dtype = "auto"
) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """The thinker of a Qwen2.5-Omni checkpoint: a folder or a Hugging Face id, of the whole model or of its thinker."""
    if not may_be_a_model(model):
        raise ValueError(f"model: got {model!r}, expected a checkpoint folder or a Hugging Face id {SUCH_AS}")
    loaded = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(model, dtype=dtype)
    return loaded.to(device).eval()
