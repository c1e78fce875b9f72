"""The real Qwen2.5-Omni thinker, about a million parameters of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

from benchmarks.quality import equal_segments
from benchmarks.quality import vocabulary as v
from seats_ops.integrations import AudioTower, family_of
from seats_ops.integrations.huggingface.families.family import Family

SIDE = 3
"""A temporal grid is SIDE x SIDE tokens."""
CELLS = SIDE * SIDE
GRIDS_PER_WINDOW = 2
WINDOW_TOKENS = GRIDS_PER_WINDOW * CELLS
"""Of video."""
SOUND = 10
"""Audio tokens a window, which lasts two seconds."""
MEL_BINS = 24
PATCH, MERGE, TEMPORAL_PATCH = 4, 2, 2
FRAMES_PER_TOKEN = 4
"""Mel frames: the tower halves them twice."""


@dataclass(frozen=True)
class Size:
    """Of the decoder.

    Attributes:
        layers: depth.
        width: hidden size; the feed-forward is twice as wide.
        taught_layer: answers are read from the output of this layer in training too, so that later layers are spare.
            0: from the last one only.
    """

    layers: int = 8
    width: int = 96
    taught_layer: int = 6

    def __str__(self) -> str:
        return f"{self.layers}x{self.width}" + (f"-taught{self.taught_layer}" if self.taught_layer else "")


def config_of(size: Size) -> Qwen2_5OmniThinkerConfig:
    """Windows of two seconds are 2 x 9 tokens of video and 10 of audio, interleaved as the processor does it."""
    heads = size.width // 24
    return Qwen2_5OmniThinkerConfig(
        text_config={
            "vocab_size": v.SIZE,
            "hidden_size": size.width,
            "intermediate_size": 2 * size.width,
            "num_hidden_layers": size.layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "max_position_embeddings": 2048,
            "pad_token_id": v.PAD,
            "bos_token_id": None,
            "eos_token_id": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": [6, 3, 3]},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_heads": 2,
            "patch_size": PATCH,
            "window_size": SIDE * PATCH * MERGE,
            "out_hidden_size": size.width,
            "fullatt_block_indexes": [0, 1],
        },
        audio_config={
            "num_mel_bins": MEL_BINS,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 96,
            "d_model": 48,
            "n_window": 2 * SOUND,
            "output_dim": size.width,
        },
        pad_token_id=v.PAD,
        audio_token_index=v.AUDIO,
        image_token_index=v.IMAGE,
        video_token_index=v.VIDEO,
        vision_start_token_id=v.VISION_START,
        vision_end_token_id=v.VISION_END,
        audio_start_token_id=v.AUDIO_START,
        audio_end_token_id=v.AUDIO_END,
        position_id_per_seconds=SOUND // 2,
        seconds_per_chunk=2,
    )


def new_thinker(size: Size, seed: int) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """With weights drawn for its width; those of transformers, 0.02 everywhere, are too small to learn from here."""
    torch.manual_seed(seed)
    config = config_of(size)
    model = Qwen2_5OmniThinkerForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    for tower in (model.model.visual, model.model.audio_tower):
        tower.config._attn_implementation = equal_segments.NAME
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv3d):
            nn.init.normal_(module.weight, std=0.7 / math.sqrt(module.weight[0].numel()))
    decoder = model.model.language_model
    nn.init.normal_(decoder.embed_tokens.weight, std=0.5)
    for layer in decoder.layers:
        for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
            projection.weight.data *= 1.5 / math.sqrt(2 * size.layers)
    return model.eval()


def family_for(model: Qwen2_5OmniThinkerForConditionalGeneration) -> Family:
    """Two seconds of sound are 10 tokens here, not 50."""
    tower = AudioTower(halvings=1, window=2 * SOUND, pooled=2)
    return replace(family_of(model), audio_block=SOUND, audio_rate=SOUND / 2, audio=tower)
