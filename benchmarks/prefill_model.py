"""Qwen2.5-Omni's own architecture, narrower, and a prompt with a clip for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

from seats_ops.cli.model import qwen2_5_omni_7b_config, random_model
from seats_ops.cost import PromptLengths, split_blocks

VOCABULARY = 4096
TEXT_BEFORE = 30
# Patches along the sides of a temporal grid: 169 tokens, as in the paper's effective prompt.
SIDE = 26
ON_A_GPU = torch.bfloat16


def config_of_width(width: int) -> Qwen2_5OmniThinkerConfig:
    """The 7B's 28 layers at another width; the towers shrink by the same factor and keep their head sizes.

    The vocabulary is small, because a prefill needs the logits of one token only.
    """
    full = qwen2_5_omni_7b_config()
    text, vision, audio = (c.to_dict() for c in (full.text_config, full.vision_config, full.audio_config))
    factor = text["hidden_size"] / width
    heads, vision_heads, audio_heads = (
        max(1, round(heads / factor))
        for heads in (text["num_attention_heads"], vision["num_heads"], audio["encoder_attention_heads"])
    )
    text |= {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "intermediate_size": round(text["intermediate_size"] / factor),
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 7),
    }
    vision |= {
        "hidden_size": 80 * vision_heads,
        "intermediate_size": round(vision["intermediate_size"] / factor),
        "num_heads": vision_heads,
        "out_hidden_size": width,
    }
    audio |= {
        "d_model": 64 * audio_heads,
        "encoder_ffn_dim": 256 * audio_heads,
        "encoder_attention_heads": audio_heads,
        "output_dim": width,
    }
    names = ("audio_token_index", "image_token_index", "video_token_index")
    ids = {name: 4001 + i for i, name in enumerate((*names, "vision_start_token_id", "vision_end_token_id"))}
    return Qwen2_5OmniThinkerConfig(text_config=text, vision_config=vision, audio_config=audio, **ids)


def model_of_width(width: int, device: torch.device) -> Any:
    """Random weights; equal widths give equal weights. On a GPU they are made there, in `ON_A_GPU`."""
    config = config_of_width(width)
    if device.type == "cpu":
        return random_model(config, device=device)
    torch.manual_seed(0)
    with device:
        return Qwen2_5OmniThinkerForConditionalGeneration._from_config(config, dtype=ON_A_GPU).eval()


def clip_prompt(
    config: Any, seconds: int, device: torch.device, text: int = 200
) -> tuple[dict[str, Any], PromptLengths]:
    """A clip of `seconds` with its sound, a grid per second, two at a time, inside `text` tokens; and its lengths."""
    per_grid = SIDE**2 // 4
    chunk = [config.video_token_id] * (2 * per_grid) + [config.audio_token_id] * 50
    words = torch.arange(text) % 4000
    clip = torch.tensor(chunk * (seconds // 2))
    generator = torch.Generator().manual_seed(0)
    vision = config.vision_config
    patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    mel = 100 * seconds
    inputs: dict[str, Any] = {
        "input_ids": torch.cat([words[:TEXT_BEFORE], clip, words[TEXT_BEFORE:]])[None],
        "pixel_values_videos": torch.randn(seconds * SIDE**2, patch, generator=generator),
        "video_grid_thw": torch.tensor([[seconds, SIDE, SIDE]]),
        "video_second_per_grid": torch.tensor([1.0]),
        "input_features": torch.randn(1, config.audio_config.num_mel_bins, mel, generator=generator),
        "feature_attention_mask": torch.ones(1, mel, dtype=torch.long),
    }
    lengths = PromptLengths(
        text,
        split_blocks(seconds * per_grid, 2 * per_grid),
        split_blocks(25 * seconds, 50),
        windows=((2 * per_grid, 50),) * (seconds // 2),
    )
    moved = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in inputs.items()}
    return {**moved, "use_audio_in_video": True}, lengths
