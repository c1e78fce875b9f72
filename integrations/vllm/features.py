"""Items from what an engine passes about: grids, mel frames, and the fields of ours that a video carries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seats_ops.integrations.vllm.clocks import Clock, GridClock, TokenClock
from seats_ops.integrations.vllm.frames import TimedFrames
from seats_ops.integrations.vllm.items import Item
from seats_ops.integrations.vllm.units import Unit
from seats_ops.layout import Modality

SECONDS = "seats_seconds"
"""int64 [1], seconds of a temporal grid: the bits of a float64, as engines cast floats to the model's dtype."""
SOUND = "seats_sound"
"""[mel bins, frames] of the sound of a video."""
SOUND_FRAMES = "seats_sound_frames"
TEXT = "seats_text"
"""int64 [S], ids of the text in a video, see `TimedFrames`."""


def seconds_as_int(seconds: Sequence[float]) -> Tensor:
    """int64 [N] with the bits of float64.

    Raises:
        ValueError: no time to count positions by; requests choose `fps`.
    """
    wrong = [each for each in seconds if not 0 < each < math.inf]
    if wrong:
        raise ValueError(f"fps: expected a number above 0, got one by which frames of a grid last {wrong[0]} s")
    return torch.tensor(seconds, dtype=torch.float64, device="cpu").view(torch.int64)


def clock_of(config: Any) -> Clock:
    """Of the config of a model or of a thinker."""
    if config.model_type == "qwen3_omni_moe_thinker":
        return TokenClock(config.position_id_per_seconds)
    if config.model_type == "qwen2_5_omni_thinker":
        return Clock(config.position_id_per_seconds, config.seconds_per_chunk)
    # Qwen3-VL counts no time: it reads it.
    return GridClock(getattr(config.vision_config, "tokens_per_second", 0))


def item_of_grid(modality: Modality, grid: Sequence[int], merge: int, seconds: Tensor | None = None) -> Item:
    """A video or a picture of (t, h, w) patches."""
    frames, height, width = map(int, grid)
    each = 0.0 if seconds is None else float(seconds.flatten().view(torch.float64)[0])
    return Item(modality, frames, height // merge, width // merge, each)


def unit_of(config: Any, modality: str, data: Any) -> Unit:
    """What an item of a request stands for.

    Args:
        config: of the model or thinker.
        modality: "video", "audio" or "image".
        data: tensors of the item by field name; values that are None count as missing.
    """
    there = {name: value for name, value in data.items() if value is not None}
    clock = clock_of(config)
    if modality == "audio":
        return Unit((clock.sound(int(there["audio_feature_lengths"])),), clock)
    grid = there[f"{modality}_grid_thw"].flatten().tolist()
    item = item_of_grid(Modality[modality.upper()], grid, config.vision_config.spatial_merge_size, there.get(SECONDS))
    if TEXT in there:
        return TimedFrames((item,), clock, tuple(there[TEXT].tolist()))
    if SOUND_FRAMES in there:
        return Unit((item, clock.sound(int(there[SOUND_FRAMES]))), clock)
    return Unit((item,), clock)
