"""Tiny models of further families on disk, as `checkpoint.py` writes Qwen2.5-Omni."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

from tests.integrations.vllm.checkpoint import IDS, MARKS, MEAN, MEL, STD, drawn, save, tokenizer

FAMILY_MARKS = MARKS | {
    "image": "<|image_pad|>",
    "video": "<|video_pad|>",
    "vision_bos": "<|vision_start|>",
    "vision_eos": "<|vision_end|>",
    "audio": "<|audio_pad|>",
    "audio_bos": "<|audio_start|>",
    "audio_eos": "<|audio_end|>",
}
"""Special tokens, of the same ids as those of Qwen2.5-Omni."""
CLASSES = {"qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL", "qwen3_omni": "Qwen3OmniMoeThinker"}
ARCHITECTURES = {
    "qwen2_5_vl": "SeatsQwen2_5_VLModel",
    "qwen3_vl": "SeatsQwen3VLModel",
    "qwen3_omni": "SeatsQwen3OmniModel",
}
PATCH = {"qwen2_5_vl": 14, "qwen3_vl": 16, "qwen3_omni": 16}
WIDE = 128


def model_class(family: str) -> Any:
    return getattr(transformers, f"{CLASSES[family]}ForConditionalGeneration")


def sizes(family: str) -> dict[str, int]:
    """Bounds in pixels within which pictures and videos keep their size."""
    token = (2 * PATCH[family]) ** 2
    return {"shortest_edge": 4 * token, "longest_edge": 512 * token}


def config(family: str) -> Any:
    """Six layers; the first three of Qwen3 get features of their own."""
    text = {
        "vocab_size": 288,
        "hidden_size": WIDE,
        "intermediate_size": 192,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "eos_token_id": IDS["end"],
        "pad_token_id": IDS["pad"],
        "tie_word_embeddings": False,
    }
    vision = {"hidden_size": 64, "intermediate_size": 96, "num_heads": 2, "out_hidden_size": WIDE, "depth": 4}
    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    if family == "qwen2_5_vl":
        text |= {"rope_parameters": {**rope, "mrope_section": [4, 6, 6]}}
        vision |= {"fullatt_block_indexes": [1], "tokens_per_second": 2}
    else:
        # Frequencies of the three axes alternate.
        text |= {"head_dim": 32, "rope_parameters": {**rope, "mrope_section": [6, 5, 5], "mrope_interleaved": True}}
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1, 2]}
    more: dict[str, Any] = {}
    if family == "qwen3_omni":
        # vLLM reads the side of the grid of learnt positions off it, and whether they are there.
        vision |= {"image_size": 8 * PATCH[family], "apply_vit_abs_pos_embed": True}
        # One of the layers has no experts.
        experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
        text |= {**experts, "mlp_only_layers": [4]}
        more |= {"audio_token_id": IDS["audio"], "audio_start_token_id": IDS["audio_bos"]}
        more |= {"audio_end_token_id": IDS["audio_eos"], "position_id_per_seconds": 13}
        # The encoder attends in segments of 39 positions, the paper in windows of 52.
        more["audio_config"] = {
            "num_mel_bins": MEL["feature_size"],
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 96,
            "d_model": 64,
            "n_window": 50,
            "n_window_infer": 300,
            "downsample_hidden_size": 8,
            "output_dim": WIDE,
        }
    return getattr(transformers, f"{CLASSES[family]}Config")(
        **more,
        text_config=text,
        vision_config=vision,
        image_token_id=IDS["image"],
        video_token_id=IDS["video"],
        vision_start_token_id=IDS["vision_bos"],
        vision_end_token_id=IDS["vision_eos"],
        tie_word_embeddings=False,
    )


def weights(family: str) -> dict[str, torch.Tensor]:
    """By the names that files have; the same from every version."""
    with torch.device("meta"):
        found = model_class(family)._from_config(config(family)).state_dict()
    if family != "qwen3_omni":
        return {name: drawn(name, tensor) for name, tensor in found.items()}
    named: dict[str, torch.Tensor] = {}
    for name, tensor in found.items():
        for inner in ("language_model.", "visual.", "audio_tower."):
            name = name.replace(f"model.{inner}", inner)
        name = "thinker." + name.replace("language_model.", "model.")
        named |= experts(name, drawn(name, tensor)) if ".experts." in name else {name: drawn(name, tensor)}
    return named


def experts(name: str, stacked: torch.Tensor) -> dict[str, torch.Tensor]:
    """In files every expert has tensors of its own."""
    layer, last = name.rsplit(".", 1)
    parts = ("down_proj",) if last == "down_proj" else ("gate_proj", "up_proj")
    return {
        f"{layer}.{number}.{part}.weight": x.contiguous()
        for number, one in enumerate(stacked)
        for part, x in zip(parts, one.chunk(len(parts)), strict=True)
    }


def write(folder: Path, family: str) -> Path:
    """The checkpoint in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights(family), folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer(FAMILY_MARKS).save_pretrained(folder)
    pixels = {"image_mean": MEAN, "image_std": STD, "temporal_patch_size": 2, "merge_size": 2, "size": sizes(family)}
    pixels |= {"patch_size": PATCH[family], "processor_class": f"{CLASSES[family].replace('Thinker', '')}Processor"}
    video = {"video_processor_type": f"{'Qwen3VL' if family == 'qwen3_vl' else 'Qwen2VL'}VideoProcessor"}
    whole = {**config(family).to_dict(), "architectures": [model_class(family).__name__], "dtype": "float32"}
    sound: dict[str, Any] = {}
    if family == "qwen3_omni":
        names = {"architectures": ["Qwen3OmniMoeForConditionalGeneration"], "model_type": "qwen3_omni_moe"}
        whole = {**names, "enable_audio_output": False, "dtype": "float32", "thinker_config": whole}
        sound = {**MEL, "feature_extractor_type": "WhisperFeatureExtractor", "padding_side": "right"}
    return save(
        folder,
        {
            "config.json": whole,
            "generation_config.json": {"do_sample": False, "pad_token_id": IDS["pad"], "eos_token_id": IDS["end"]},
            "preprocessor_config.json": {**pixels, **sound, "image_processor_type": "Qwen2VLImageProcessor"},
            "video_preprocessor_config.json": {**pixels, **video, "do_sample_frames": False},
        },
    )
