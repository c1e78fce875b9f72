"""A tiny Qwen2.5-Omni thinker on disk, with all that an engine reads: weights follow from names, tokens are bytes.

`python -m tests.integrations.vllm.checkpoint FOLDER` writes it; two environments with other versions write the same.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

MARKS = {
    "pad": "<|endoftext|>",
    "begin": "<|im_start|>",
    "end": "<|im_end|>",
    "audio": "<|AUDIO|>",
    "image": "<|IMAGE|>",
    "video": "<|VIDEO|>",
    "audio_bos": "<|audio_bos|>",
    "audio_eos": "<|audio_eos|>",
    "vision_bos": "<|vision_bos|>",
    "vision_eos": "<|vision_eos|>",
}
"""Special tokens, after the 256 bytes."""
IDS = {name: 256 + number for number, name in enumerate(MARKS)}
PIXELS = {"shortest_edge": 4 * 28 * 28, "longest_edge": 64 * 28 * 28}
"""Bounds within which frames keep their size."""
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
MEL = {
    "feature_size": 128,
    "sampling_rate": 16_000,
    "hop_length": 160,
    "n_fft": 400,
    # Every sound is padded to this many seconds before its spectrum is taken; Qwen's own value is 300.
    "chunk_length": 20,
    "padding_value": 0.0,
    "return_attention_mask": True,
}


def config() -> Qwen2_5OmniThinkerConfig:
    """Six layers of width 128; heads of 32, as vLLM's attention on a CPU takes none that are narrower."""
    wide = 128
    tokens = {f"{name}_token_{kind}": IDS[name] for name in ("audio", "image", "video") for kind in ("id", "index")}
    return Qwen2_5OmniThinkerConfig(
        text_config={
            "vocab_size": 288,
            "hidden_size": wide,
            "intermediate_size": 192,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "max_window_layers": 6,
            # vLLM reads it here, transformers in the thinker's config.
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
        },
        vision_config={
            "depth": 3,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_heads": 2,
            "out_hidden_size": wide,
            "fullatt_block_indexes": [1],
        },
        audio_config={
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "d_model": 64,
            "encoder_ffn_dim": 96,
            "output_dim": wide,
            "num_mel_bins": 128,
        },
        **tokens,
        audio_start_token_id=IDS["audio_bos"],
        audio_end_token_id=IDS["audio_eos"],
        vision_start_token_id=IDS["vision_bos"],
        vision_end_token_id=IDS["vision_eos"],
        pad_token_id=IDS["pad"],
        position_id_per_seconds=25,
        seconds_per_chunk=2,
        tie_word_embeddings=False,
    )


def tokenizer(marks: Mapping[str, str] = MARKS) -> PreTrainedTokenizerFast:
    """A token for every byte, and the special ones."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(vocab=letters, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks.values()])
    media = {f"{name}_token": marks[name] for name in marks if name not in ("pad", "begin", "end")}
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=marks["end"],
        pad_token=marks["pad"],
        extra_special_tokens=media,
        chat_template=(
            "{%- for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
            "{%- for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
            "{% elif 'video' in part.type %}<|vision_bos|><|VIDEO|><|vision_eos|>"
            "{% elif 'image' in part.type %}<|vision_bos|><|IMAGE|><|vision_eos|>"
            "{% elif 'audio' in part.type %}<|audio_bos|><|AUDIO|><|audio_eos|>{% endif %}{% endfor %}"
            "{%- endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
        ),
    )


def weights() -> dict[str, torch.Tensor]:
    """By the names that Qwen published; the same from every version, whatever its modules are called."""
    with torch.device("meta"):
        model = Qwen2_5OmniThinkerForConditionalGeneration._from_config(config())
    found = {}
    for name, tensor in model.state_dict().items():
        for inner in ("language_model.", "visual.", "audio_tower."):
            name = name.replace(f"model.{inner}", inner)
        name = "thinker." + name.replace("language_model.", "model.")
        found[name] = drawn(name, tensor)
    return found


def drawn(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """float32 values that follow from a name, in the shape of a tensor."""
    draw = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(tensor.shape), dtype=np.float32)
    norm = tensor.ndim == 1 and name.endswith("weight")
    # Wide, so that an answer depends on its prompt and the best token is not a near tie.
    scaled = 1 + 0.1 * draw if norm else draw * (0.12 if tensor.ndim > 1 else 0.05)
    return torch.from_numpy(scaled.astype(np.float32))


def write(folder: Path) -> Path:
    """The checkpoint in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights(), folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer().save_pretrained(folder)
    thinker = {**config().to_dict(), "architectures": ["Qwen2_5OmniThinkerForConditionalGeneration"]}
    whole = {"architectures": ["Qwen2_5OmniModel"], "model_type": "qwen2_5_omni", "enable_audio_output": False}
    pixels = {"image_mean": MEAN, "image_std": STD, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    pixels |= {"processor_class": "Qwen2_5OmniProcessor", "size": PIXELS}
    pixels |= {"min_pixels": PIXELS["shortest_edge"], "max_pixels": PIXELS["longest_edge"]}
    samples = MEL["chunk_length"] * MEL["sampling_rate"]
    mel = {**MEL, "n_samples": samples, "nb_max_frames": samples // MEL["hop_length"], "padding_side": "right"}
    kinds = {"image_processor_type": "Qwen2VLImageProcessor", "feature_extractor_type": "WhisperFeatureExtractor"}
    video = {"video_processor_type": "Qwen2VLVideoProcessor", "do_sample_frames": False}
    ends = {"do_sample": False, "pad_token_id": IDS["pad"], "eos_token_id": IDS["end"]}
    files: dict[str, Any] = {
        "config.json": {**whole, "dtype": "float32", "thinker_config": thinker},
        "generation_config.json": ends,
        "preprocessor_config.json": {**pixels, **mel, **kinds},
        "video_preprocessor_config.json": {**pixels, **video},
    }
    return save(folder, files)


def save(folder: Path, files: Mapping[str, Any]) -> Path:
    """JSON files of a checkpoint, by name."""
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1))
    return folder


if __name__ == "__main__":
    write(Path(sys.argv[1]))
