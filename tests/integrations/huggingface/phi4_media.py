"""Sounds and pictures as Phi-4's processor hands them to the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from tests.integrations.huggingface.parts import Audio, Image, Part
from tests.integrations.huggingface.prompt.prompt_tokens import audio_tokens


def phi4_media(config: Any, parts: tuple[Part, ...], generator: torch.Generator) -> dict[str, Tensor]:
    """Keyword arguments for the audios and images among the parts of one prompt."""
    inputs: dict[str, Tensor] = {}
    sounds = torch.tensor([part.mel_frames for part in parts if isinstance(part, Audio)])
    if len(sounds):
        shape = (len(sounds), int(sounds.max()), config.audio_config.input_size)
        inputs["audio_input_features"] = torch.randn(shape, generator=generator)
        inputs["audio_embed_sizes"] = torch.tensor([audio_tokens(config, int(frames)) for frames in sounds])
    if len(sounds) > 1:
        inputs["audio_attention_mask"] = torch.arange(shape[1]) < sounds[:, None]
    pictures = [_picture(config, part.grid[1:], generator) for part in parts if isinstance(part, Image)]
    if pictures:
        pixels, masks, sizes = zip(*pictures, strict=True)
        inputs["image_pixel_values"] = with_equal_crops(pixels)
        inputs["image_attention_mask"] = with_equal_crops(masks)
        inputs["image_sizes"] = torch.stack(sizes)
    return inputs


def with_equal_crops(pictures: Sequence[Tensor]) -> Tensor:
    """[crops, ...] each -> [pictures, most crops, ...], zero where a picture has fewer."""
    most = max(map(len, pictures))
    return torch.stack([pad(picture, (0, 0) * (picture.dim() - 1) + (0, most - len(picture))) for picture in pictures])


def _picture(config: Any, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels [1 + crops, 3, side, side], mask [1 + crops, patches, patches] and size of one picture.

    First comes the whole picture made small. `shape`: patches from top to bottom and from left to right, both even.
    """
    vision = config.vision_config
    side = vision.crop_size // vision.patch_size
    down, across = (-(-patches // side) for patches in shape)
    pixels = torch.randn(1 + down * across, 3, vision.crop_size, vision.crop_size, generator=generator)
    mask = torch.zeros(down * side, across * side, dtype=torch.long)
    mask[: shape[0], : shape[1]] = 1
    crops = [row for rows in mask.split(side) for row in rows.split(side, dim=1)]
    masks = torch.stack([torch.ones(side, side, dtype=torch.long), *crops])
    return pixels, masks, torch.tensor([down, across]) * vision.crop_size
