"""Tiny Qwen2.5-VL and Qwen3-VL on disk, as `checkpoint.py` writes Qwen2.5-Omni."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

from tests.integrations.vllm.checkpoint import IDS, MARKS, MEAN, STD, drawn, save, tokenizer

VL_MARKS = MARKS | {
    "image": "<|image_pad|>",
    "video": "<|video_pad|>",
    "vision_bos": "<|vision_start|>",
    "vision_eos": "<|vision_end|>",
}
"""Special tokens, of the same ids as those of Qwen2.5-Omni."""
CLASSES = {"qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}
PATCH = {"qwen2_5_vl": 14, "qwen3_vl": 16}
WIDE = 128


def model_class(family: str) -> Any:
    return getattr(transformers, f"{CLASSES[family]}ForConditionalGeneration")


def sizes(family: str) -> dict[str, int]:
    """Bounds in pixels within which pictures and videos keep their size."""
    token = (2 * PATCH[family]) ** 2
    return {"shortest_edge": 4 * token, "longest_edge": 512 * token}


def config(family: str) -> Any:
    """Six layers; the first three of Qwen3-VL get features of their own."""
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
    return getattr(transformers, f"{CLASSES[family]}Config")(
        text_config=text,
        vision_config=vision,
        image_token_id=IDS["image"],
        video_token_id=IDS["video"],
        vision_start_token_id=IDS["vision_bos"],
        vision_end_token_id=IDS["vision_eos"],
        tie_word_embeddings=False,
    )


def write(folder: Path, family: str) -> Path:
    """The checkpoint in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        model = model_class(family)._from_config(config(family))
    weights = {name: drawn(name, tensor) for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer(VL_MARKS).save_pretrained(folder)
    pixels = {"image_mean": MEAN, "image_std": STD, "temporal_patch_size": 2, "merge_size": 2, "size": sizes(family)}
    pixels |= {"patch_size": PATCH[family], "processor_class": f"{CLASSES[family]}Processor"}
    video = {"video_processor_type": f"{'Qwen2VL' if family == 'qwen2_5_vl' else 'Qwen3VL'}VideoProcessor"}
    return save(
        folder,
        {
            "config.json": {
                **config(family).to_dict(),
                "architectures": [model_class(family).__name__],
                "dtype": "float32",
            },
            "generation_config.json": {
                "do_sample": False,
                "pad_token_id": IDS["pad"],
                "eos_token_id": IDS["end"],
            },
            "preprocessor_config.json": {**pixels, "image_processor_type": "Qwen2VLImageProcessor"},
            "video_preprocessor_config.json": {**pixels, **video, "do_sample_frames": False},
        },
    )
