"""Prompts of one clip or one sound, laid out as those of Qwen2.5-Omni."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops import Modality, TokenLayout
from seats_ops.cost import PromptLengths
from seats_ops.integrations.huggingface.prompt.media_facts import with_grid, with_seconds
from seats_ops.integrations.huggingface.prompt.token_layout import MediaTokens, build_token_layout

BEFORE, AFTER = 15, 25
"""Tokens of text around the media."""


@cache
def config() -> Qwen2_5OmniThinkerConfig:
    return Qwen2_5OmniThinkerConfig()


def video_prompt(grids: int, height: int, width: int, seconds_per_grid: float) -> TokenLayout:
    """A silent video of `grids` temporal grids of height x width tokens."""
    media = MediaTokens.from_config(config())
    shape = torch.tensor([[grids, height * media.merge, width * media.merge]], dtype=torch.int64, device="cpu")
    layout = build_token_layout(_ids(media.video_id, grids * height * width), media, video_grid_thw=shape)
    layout = with_grid(layout, media, {Modality.VIDEO: shape}, {})
    return with_seconds(layout, media, shape, [seconds_per_grid], {})


def sound_prompt(tokens: int) -> TokenLayout:
    """A sound of 40 ms a token."""
    media = MediaTokens.from_config(config())
    layout = with_grid(build_token_layout(_ids(media.audio_id, tokens), media), media, {}, {Modality.AUDIO: [tokens]})
    return with_seconds(layout, media, None, [], {Modality.AUDIO: [tokens]})


def lengths(layout: TokenLayout) -> PromptLengths:
    """For `at_equal_cost`, with the shapes of the items."""
    return PromptLengths.from_layout(layout)


def whole(layout: TokenLayout, media: Tensor) -> Tensor:
    """[T, D] features of the prompt; text has none, and no method that is run looks at it."""
    features = torch.zeros(len(layout), media.shape[1], dtype=torch.float32, device="cpu")
    features[~layout.is_modality(Modality.TEXT)] = media
    return features


def _ids(token: int, number: int) -> Tensor:
    text = [torch.ones(n, dtype=torch.int64, device="cpu") for n in (BEFORE, AFTER)]
    media = torch.full((number,), token, dtype=torch.int64, device="cpu")
    return torch.cat([text[0], media, text[1]])[None]
