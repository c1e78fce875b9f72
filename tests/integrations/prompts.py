"""Prompts of tokens, pixels and mel frames in the layout of Qwen2.5-Omni, made from a few numbers and a seed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

AUDIO, IMAGE, VIDEO = "audio", "image", "video"


@dataclass(frozen=True)
class Text:
    """Ordinary tokens."""

    count: int


@dataclass(frozen=True)
class Audio:
    """A sound of its own, `mel_frames` frames of 10 ms."""

    mel_frames: int


@dataclass(frozen=True)
class Image:
    """One picture of `grid` = (1, height, width) patches before merging."""

    grid: tuple[int, int, int]


@dataclass(frozen=True)
class Video:
    """A clip of `grid` = (time, height, width) patches before merging; with `mel_frames` its sound is interleaved."""

    grid: tuple[int, int, int]
    seconds_per_grid: float = 1.0
    mel_frames: int | None = None


Part = Text | Audio | Image | Video


def audio_tokens(mel_frames: int) -> int:
    """Two convolutions' worth of halving: the second pairs positions and drops an odd last one."""
    return (mel_frames + 1) // 2 // 2


def visual_tokens(config: Any, grid: tuple[int, int, int]) -> int:
    time, height, width = grid
    return time * height * width // config.vision_config.spatial_merge_size**2


def _interleaved(config: Any, clip: Video) -> list[int]:
    """Chunks of two seconds, pictures before sound, until both run out."""
    per_chunk, rate = config.seconds_per_chunk * config.position_id_per_seconds, config.position_id_per_seconds
    assert clip.mel_frames is not None
    sound = audio_tokens(clip.mel_frames)
    frame = visual_tokens(config, (1, *clip.grid[1:]))
    starts = [int(t * clip.seconds_per_grid * rate) for t in range(clip.grid[0])]
    chunks = 1 + max(starts[-1] // per_chunk, (sound - 1) // per_chunk)
    tokens: list[int] = []
    for chunk in range(chunks):
        pictures = sum(chunk * per_chunk <= start < (chunk + 1) * per_chunk for start in starts)
        tokens += [config.video_token_id] * (pictures * frame)
        tokens += [config.audio_token_id] * max(0, min(sound - chunk * per_chunk, per_chunk))
    return tokens


def _tokens(config: Any, part: Part, generator: torch.Generator) -> list[int]:
    vision = [config.vision_start_token_id], [config.vision_end_token_id]
    audio = [config.audio_start_token_id], [config.audio_end_token_id]
    match part:
        case Text(count):
            return torch.randint(0, 280, (count,), generator=generator).tolist()
        case Audio(mel_frames):
            return audio[0] + [config.audio_token_id] * audio_tokens(mel_frames) + audio[1]
        case Image(grid):
            return vision[0] + [config.image_token_id] * visual_tokens(config, grid) + vision[1]
        case Video(grid, _, None):
            return vision[0] + [config.video_token_id] * visual_tokens(config, grid) + vision[1]
        case Video():
            return vision[0] + audio[0] + _interleaved(config, part) + audio[1] + vision[1]


def _pixels(config: Any, grids: list[tuple[int, int, int]], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    vision = config.vision_config
    patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    count = sum(time * height * width for time, height, width in grids)
    return torch.randn(count, patch, generator=generator), torch.tensor(grids)


def build_prompt(config: Any, *parts: Part, seed: int = 0) -> dict[str, Any]:
    """Keyword arguments of the thinker for one row made of `parts`, in this order."""
    generator = torch.Generator().manual_seed(seed)
    ids = [token for part in parts for token in _tokens(config, part, generator)]
    inputs: dict[str, Any] = {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
    }
    images = [part.grid for part in parts if isinstance(part, Image)]
    videos = [part for part in parts if isinstance(part, Video)]
    sounds = [part.mel_frames for part in parts if isinstance(part, (Audio, Video)) and part.mel_frames is not None]
    if images:
        inputs["pixel_values"], inputs["image_grid_thw"] = _pixels(config, images, generator)
    if videos:
        grids = [clip.grid for clip in videos]
        inputs["pixel_values_videos"], inputs["video_grid_thw"] = _pixels(config, grids, generator)
        inputs["video_second_per_grid"] = torch.tensor([clip.seconds_per_grid for clip in videos])
    if sounds:
        bins, longest = config.audio_config.num_mel_bins, max(sounds)
        inputs["input_features"] = torch.randn(len(sounds), bins, longest, generator=generator)
        inputs["feature_attention_mask"] = (torch.arange(longest) < torch.tensor(sounds)[:, None]).long()
    inputs["use_audio_in_video"] = any(clip.mel_frames is not None for clip in videos)
    return inputs


def columns_of(config: Any, inputs: dict[str, Any], *kinds: str) -> Tensor:
    """Ascending columns of one row that hold placeholders of these kinds."""
    tokens = torch.tensor([getattr(config, f"{kind}_token_id") for kind in kinds])
    return torch.isin(inputs["input_ids"][0], tokens).nonzero().flatten()


def columns_without(config: Any, inputs: dict[str, Any], *kinds: str) -> Tensor:
    """Ascending columns of one row that hold anything else."""
    tokens = torch.tensor([getattr(config, f"{kind}_token_id") for kind in kinds])
    return (~torch.isin(inputs["input_ids"][0], tokens)).nonzero().flatten()


def runs_of(config: Any, inputs: dict[str, Any]) -> Tensor:
    """Stage II window of every column: the n-th runs of video and of audio tokens share id n; -1 elsewhere."""
    kinds = {config.video_token_id: VIDEO, config.audio_token_id: AUDIO}
    seen = {VIDEO: 0, AUDIO: 0}
    windows: list[int] = []
    for kind, run in groupby(inputs["input_ids"][0].tolist(), key=kinds.get):
        length = len(list(run))
        windows += [-1 if kind is None else seen[kind]] * length
        if kind is not None:
            seen[kind] += 1
    return torch.tensor(windows)
