"""Traces of one small prompt that has everything a page shows: two clips, one with sound, and a picture."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from seats_ops import PruneTrace
from seats_ops.inspector import Media
from seats_ops.integrations import attach
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompts import Image, Text, Video, build_prompt
from tests.integrations.huggingface.schedules import small_preset

TITLE = 'A <b>"bold"</b> clip & </script><script>throw 1</script>.mp4'


@functools.cache
def example(late: int = 6) -> tuple[Any, PruneTrace]:
    """The config and the trace with scores; another layer of the `late` drop keeps other tokens."""
    model = SMALL["qwen2_5_omni"]("sdpa")
    parts = Text(9), Image((1, 4, 6)), Text(3), Video((6, 4, 6), 0.5, mel_frames=290), Text(2), Video((2, 8, 4), 1.0)
    inputs = build_prompt(model.config, *parts, Text(7))
    schedule = small_preset(model.config, drop_layers=(2, 3, 4), late_layer=late, encoder_ratio_scale=1.7)
    with torch.no_grad(), attach(model, schedule, record="scores") as trace:
        model(**inputs)
    return model.config, trace


def media_of(trace: PruneTrace) -> Media:
    """Pictures of its media, of random colours."""
    random = np.random.default_rng(0)

    def colours(*shape: int) -> np.ndarray:
        return random.integers(0, 255, (*shape, 30, 40, 3)).astype(np.uint8)

    frames = [colours(item.grid[0]) for item in trace.items if item.modality == "video" and item.grid]
    seconds = [item.num_tokens * (item.seconds or 0.0) for item in trace.items if item.modality == "audio"]
    sounds = [random.standard_normal((16, round(100 * length))).astype(np.float32) for length in seconds]
    pictures = [colours() for item in trace.items if item.modality == "image"]
    return Media(TITLE, frames, sounds, pictures)
