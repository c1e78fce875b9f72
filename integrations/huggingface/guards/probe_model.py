"""A tiny random model of a family, and a prompt for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seats_ops.integrations.huggingface.families.family import Family
from seats_ops.integrations.huggingface.families.tower_kinds import AudioTower, ConformerTower, CropTower

LAYERS = 4
FRAMES = 40
IMAGE, VIDEO, AUDIO = 50, 51, 52
_IDS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "audio_token_id": AUDIO,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 57,
}
_ENDS = {
    "vision_start_token_id": 53,
    "vision_end_token_id": 54,
    "audio_start_token_id": 55,
    "audio_end_token_id": 56,
}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_WIDTH = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
# Of the names that one part or another has, in any family.
_TEXT = {
    **_WIDTH,
    "vocab_size": 64,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "original_max_position_embeddings": 1024,
    "sliding_window": 2048,
    "pad_token_id": 57,
    "bos_token_id": None,
    "eos_token_id": None,
    "rope_parameters": _ROPE | {"mrope_section": [2, 3, 3]},
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
}
_VISION = {
    **_WIDTH,
    "depth": 2,
    "num_hidden_layers": 2,
    "num_heads": 2,
    "patch_size": 4,
    "window_size": 16,
    "image_size": 16,
    "crop_size": 16,
    "embed_dim": 32,
    "num_position_embeddings": 64,
    "out_hidden_size": 32,
    "fullatt_block_indexes": [0],
    "deepstack_visual_indexes": [0, 1],
}
_AUDIO = {
    **_WIDTH,
    "num_mel_bins": 8,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "d_model": 32,
    "n_window": 50,
    "n_window_infer": 100,
    "downsample_hidden_size": 4,
    "output_dim": 32,
    "num_blocks": 2,
    "ext_pw_out_channel": 32,
    "depthwise_separable_out_channel": 32,
    "nemo_conv_channels": 4,
    "input_size": 8,
}


def tiny_model(family: Family, cls: Any) -> Any:
    """A model of a class, on the CPU, in float32, with weights that let attention tell tokens apart."""
    kinds = cls.config_class.sub_configs
    parts = {name: _known(kinds[name], sizes) for name, sizes in _PARTS.items() if name in kinds}
    own = {} if "text_config" in kinds else _known(cls.config_class, _TEXT | {"rope_parameters": _ROPE})
    config = cls.config_class(**parts, **own, **_ENDS)
    if hasattr(config, "position_id_per_seconds"):
        config.position_id_per_seconds = int(family.audio_rate)
    for holder in (config, *(getattr(config, name) for name in parts)):
        for name, token in _IDS.items():
            if hasattr(holder, name):
                setattr(holder, name, token)
    model = cls._from_config(config, attn_implementation="sdpa", dtype=torch.float32).eval()
    generator = torch.Generator(device="cpu").manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0.0, 1.3 / min(fan_in, 64) ** 0.5, generator=generator)
    return model


_PARTS: Mapping[str, Mapping[str, Any]] = {"text_config": _TEXT, "vision_config": _VISION, "audio_config": _AUDIO}


def _known(cls: Any, sizes: Mapping[str, Any]) -> dict[str, Any]:
    default = cls()
    return {name: value for name, value in sizes.items() if hasattr(default, name)}


def tiny_prompt(family: Family, config: Any) -> dict[str, Tensor]:
    """Text, a picture, a video of one grid, a sound and text, as far as the family has them: [1, S] and media."""
    generator = torch.Generator(device="cpu").manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")

    def whole(values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device="cpu")

    ids, inputs = [3, 14, 15, 9, 26], {}
    vision: Any = getattr(config, "vision_config", None)
    if isinstance(family.vision, CropTower):
        side = vision.crop_size // vision.patch_size
        inputs["image_pixel_values"] = random(1, 2, 3, vision.crop_size, vision.crop_size)
        inputs["image_attention_mask"] = torch.ones(1, 2, side, side, dtype=torch.int64, device="cpu")
        inputs["image_sizes"] = whole([[vision.crop_size] * 2])
        ids += [IMAGE] * (side * (side // 2 + 1) + 1)
    elif family.vision is not None:
        pixels = getattr(vision, "in_channels", 3) * vision.temporal_patch_size * vision.patch_size**2
        inputs["pixel_values"], inputs["image_grid_thw"] = random(16, pixels), whole([[1, 4, 4]])
        inputs["pixel_values_videos"], inputs["video_grid_thw"] = random(64, pixels), whole([[1, 8, 8]])
        ids += [53, *[IMAGE] * 4, 54, 8, 53, *[VIDEO] * 16, 54]
    if isinstance(family.audio, ConformerTower):
        inputs["audio_input_features"] = random(1, FRAMES, config.audio_config.input_size)
        inputs["audio_embed_sizes"] = whole([FRAMES // config.audio_config.time_reduction])
        ids += [5, *[AUDIO] * (FRAMES // config.audio_config.time_reduction)]
    elif isinstance(family.audio, AudioTower):
        inputs["input_features"] = random(1, config.audio_config.num_mel_bins, FRAMES)
        inputs["feature_attention_mask"] = torch.ones(1, FRAMES, dtype=torch.int64, device="cpu")
        ids += [55, *[AUDIO] * ((FRAMES >> family.audio.halvings) // family.audio.pooled), 56]
    inputs["input_ids"] = whole([[*ids, 11, 21, 33, 7]])
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if family.vision is not None and not isinstance(family.vision, CropTower) and family.audio is None:
        kinds = (inputs["input_ids"] == IMAGE).int() + 2 * (inputs["input_ids"] == VIDEO).int()
        inputs["mm_token_type_ids"] = kinds
    if family.seconds_per_grid is not None:
        inputs[family.seconds_per_grid] = torch.ones(1, dtype=torch.float32, device="cpu")
    return inputs
