"""Prompts of tokens, pixels and mel frames in the layout of a model family, made from a few numbers and a seed."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from tests.integrations.huggingface.parts import Audio, Image, Part, Text, Video
from tests.integrations.huggingface.phi4_media import phi4_media
from tests.integrations.huggingface.prompt.prompt_tokens import moving, part_tokens, token_id

__all__ = [
    "Audio",
    "Image",
    "Part",
    "Text",
    "Video",
    "build_prompt",
    "columns_of",
    "columns_without",
    "moving",
    "runs_of",
    "stills",
]


def _pixels(config: Any, grids: list[tuple[int, int, int]], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    vision = config.vision_config
    patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    count = sum(time * height * width for time, height, width in grids)
    return torch.randn(count, patch, generator=generator), torch.tensor(grids)


def stills(config: Any, *parts: Part) -> tuple[Part, ...]:
    """The same for a family that sees only pictures: one of every clip, and 4.3 s of sound.

    Sounds are equally long, and none comes without a picture: transformers encodes those of a batch in one go, padded,
    and in another way where any prompt has a picture.
    """
    if moving(config) == "video":
        return parts
    return tuple(
        piece
        for part in parts
        for piece in ((Image((1, *part.grid[1:])), Text(2), Audio(430)) if isinstance(part, Video) else (part,))
    )


def build_prompt(config: Any, *parts: Part, seed: int = 0) -> dict[str, Any]:
    """Keyword arguments of the thinker for one row made of `parts`, in this order."""
    generator = torch.Generator().manual_seed(seed)
    ids = [token for part in parts for token in part_tokens(config, part, generator)]
    inputs: dict[str, Any] = {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
    }
    if config.model_type == "phi4_multimodal":
        return inputs | phi4_media(config, parts, generator)
    images = [part.grid for part in parts if isinstance(part, Image)]
    videos = [part for part in parts if isinstance(part, Video)]
    sounds = [part.mel_frames for part in parts if isinstance(part, (Audio, Video)) and part.mel_frames is not None]
    seconds = torch.tensor([clip.seconds_per_grid for clip in videos])
    if images:
        inputs["pixel_values"], inputs["image_grid_thw"] = _pixels(config, images, generator)
    if videos:
        grids = [clip.grid for clip in videos]
        inputs["pixel_values_videos"], inputs["video_grid_thw"] = _pixels(config, grids, generator)
    if sounds:
        bins, longest = config.audio_config.num_mel_bins, max(sounds)
        inputs["input_features"] = torch.randn(len(sounds), bins, longest, generator=generator)
        inputs["feature_attention_mask"] = (torch.arange(longest) < torch.tensor(sounds)[:, None]).long()
    if hasattr(config, "audio_config"):
        inputs["use_audio_in_video"] = any(clip.mel_frames is not None for clip in videos)
        if videos:
            inputs["video_second_per_grid"] = seconds
        return inputs
    ids_of = inputs["input_ids"]
    inputs["mm_token_type_ids"] = (ids_of == config.image_token_id).int() + 2 * (ids_of == config.video_token_id).int()
    if videos and config.model_type.startswith("qwen2_5"):
        inputs["second_per_grid_ts"] = seconds
    return inputs


def placeholders(config: Any, *kinds: str) -> Tensor:
    """Ids of the placeholders of these kinds, those the family has."""
    return torch.tensor([token for kind in kinds if (token := token_id(config, kind)) is not None])


def columns_of(config: Any, inputs: dict[str, Any], *kinds: str) -> Tensor:
    """Ascending columns of one row that hold placeholders of these kinds."""
    return torch.isin(inputs["input_ids"][0], placeholders(config, *kinds)).nonzero().flatten()


def columns_without(config: Any, inputs: dict[str, Any], *kinds: str) -> Tensor:
    """Ascending columns of one row that hold anything else."""
    return (~torch.isin(inputs["input_ids"][0], placeholders(config, *kinds))).nonzero().flatten()


def runs_of(config: Any, inputs: dict[str, Any]) -> Tensor:
    """Stage II window of every column: the n-th runs of video and of audio tokens share id n; -1 elsewhere."""
    kinds = {token_id(config, kind): kind for kind in ("video", "audio")}
    seen = {"video": 0, "audio": 0}
    windows: list[int] = []
    for kind, run in groupby(inputs["input_ids"][0].tolist(), key=kinds.get):
        length = len(list(run))
        windows += [-1 if kind is None else seen[kind]] * length
        if kind is not None:
            seen[kind] += 1
    return torch.tensor(windows)
