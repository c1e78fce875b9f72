"""The models of these tests: the golden checkpoints, and small random ones whose shapes differ from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniTalkerForConditionalGeneration,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen3OmniMoeThinkerForConditionalGeneration,
)

from tests.integrations.huggingface.upstream import newest_place

_GOLDEN = {
    "qwen2_5": Qwen2_5OmniThinkerForConditionalGeneration,
    "qwen3": Qwen3OmniMoeThinkerForConditionalGeneration,
}
_TEXT = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 7,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "pad_token_id": 297,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
}
VISION = {
    "depth": 3,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_heads": 3,
    "patch_size": 4,
    "window_size": 16,
    "out_hidden_size": 64,
    "fullatt_block_indexes": [0, 2],
}
# Segments of 60 positions: with the usual 100 the encoder's own segments and the windows of the paper are the same.
_AUDIO = {
    "num_mel_bins": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "d_model": 32,
    "n_window": 60,
    "output_dim": 64,
}
_TOKENS = {
    "audio_token_index": 290,
    "image_token_index": 291,
    "video_token_index": 292,
    "vision_start_token_id": 293,
    "vision_end_token_id": 294,
    "audio_start_token_id": 295,
    "audio_end_token_id": 296,
}


def thinker_config(
    text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None
) -> Qwen2_5OmniThinkerConfig:
    """The small thinker's configuration; `text` and `vision` replace single entries."""
    return Qwen2_5OmniThinkerConfig(
        text_config=_TEXT | (text or {}),
        vision_config=VISION | (vision or {}),
        audio_config=_AUDIO,
        pad_token_id=297,
        **_TOKENS,
    )


def randomise(model: nn.Module, seed: int) -> None:
    """Weights large enough that attention is far from uniform, so that dropping a token changes the logits."""
    generator = torch.Generator().manual_seed(seed)
    for path, parameter in sorted(model.named_parameters(), key=lambda named: newest_place(model, named[0])):
        name = path.removeprefix("model.embed_tokens_extend.").removeprefix("audio_embed.encoder.embed.")
        name = name.removeprefix("audio_embed.").removeprefix("image_embed.")
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            parameter.data.copy_(0.1 * noise + (1.0 if "norm" in name or "ln_" in name else 0.0))
        else:
            # Linear layers and convolutions sum over all but the first axis; the experts of a layer are stacked.
            fan_in = 1 if "embed" in name else parameter[0, 0].numel() if "experts" in name else parameter[0].numel()
            parameter.data.copy_(1.3 * noise / fan_in**0.5)


def small_thinker(
    attention: str = "sdpa", *, seed: int = 0, text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None
) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """A random thinker of 7 layers; equal seeds give equal weights."""
    config = thinker_config(text, vision)
    model = Qwen2_5OmniThinkerForConditionalGeneration._from_config(config, attn_implementation=attention).eval()
    randomise(model, seed)
    return model


def golden_thinker(golden_dir: Path, attention: str = "sdpa", family: str = "qwen2_5") -> nn.Module:
    """The 8-layer checkpoint the golden numbers of a family were made with."""
    checkpoint = golden_dir / "end_to_end" / family / "checkpoint"
    return _GOLDEN[family].from_pretrained(checkpoint, attn_implementation=attention).eval()


def small_omni(attention: str = "sdpa", *, talker: bool = False) -> Qwen2_5OmniForConditionalGeneration:
    """The full model around the small thinker; with `talker` also the part that speaks (without a vocoder)."""
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Qwen2_5OmniConfig(
        thinker_config=thinker_config().to_dict(),
        talker_config=small | {"num_key_value_heads": 1, "head_dim": 16, "vocab_size": 64, "embedding_size": 64},
        enable_audio_output=False,
    )
    model = Qwen2_5OmniForConditionalGeneration._from_config(config, attn_implementation=attention).eval()
    randomise(model.thinker, 0)
    if talker:
        model.talker = Qwen2_5OmniTalkerForConditionalGeneration._from_config(config.talker_config)
        model.has_talker = True
        model.speaker_map = {"Chelsie": {"bos_token": 0}}
    return model
