"""What Stage I is given, and what it selects from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops import DiversitySelector, Schedule
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.oracle import merged_embeddings
from tests.integrations.huggingface.phi4_saliency import phi4_audio_saliency, phi4_image_saliency
from tests.integrations.huggingface.prompt.prompt_tokens import audio_tokens, visual_tokens
from tests.integrations.huggingface.prompts import Audio, Image, Part, Text, Video, columns_of, columns_without
from tests.integrations.huggingface.scores.saliency_oracle import audio_saliency, cut, select, visual_saliency

PROMPTS: dict[str, list[Part]] = {
    "clip_with_sound": [Text(4), Video((5, 4, 6), 1.0, mel_frames=430), Text(3)],
    "video": [Text(4), Video((4, 6, 10)), Text(3)],
    "one_grid": [Text(4), Video((1, 6, 6)), Text(3)],
    "audio": [Text(4), Audio(431), Text(3)],
    "first_audio_odd": [Text(4), Audio(333), Text(2), Audio(410), Text(2), Audio(58), Text(3)],
    "two_grids": [Text(4), Video((3, 4, 6)), Text(2), Video((4, 6, 8), 0.5), Text(3)],
    "larger_grid_first": [Text(4), Video((3, 8, 8)), Text(2), Video((5, 4, 4)), Audio(202), Text(3)],
    "image_then_clip": [Text(4), Image((1, 6, 4)), Text(2), Video((4, 4, 6), 1.0, mel_frames=390), Text(3)],
    "clip_then_image": [Text(4), Video((2, 4, 6)), Text(2), Image((1, 4, 4)), Text(3)],
    # 24 merged tokens each: the two calls of the vision tower cannot be told apart by their length
    "image_as_large_as_the_clip": [Text(4), Image((1, 8, 12)), Text(2), Video((4, 4, 6)), Text(3)],
    # Of one crop and of two by three, side by side.
    "pictures_and_sounds": [Text(4), Image((1, 6, 4)), Image((1, 14, 20)), Audio(210), Audio(330), Audio(90), Text(3)],
    "two_images": [Text(4), Image((1, 4, 6)), Image((1, 8, 4)), Text(2), Video((3, 4, 6)), Text(3)],
}


def expected_saliency(pristine: nn.Module, inputs: dict[str, Any], windows: str) -> dict[str, Tensor]:
    """By modality, in the order of the prompt."""
    found = {}
    if "image_pixel_values" in inputs:
        found["image"] = phi4_image_saliency(pristine, inputs)
    if "audio_input_features" in inputs:
        found["audio"] = phi4_audio_saliency(pristine, inputs, windows)
    if "image_grid_thw" in inputs:
        found["image"] = visual_saliency(pristine, inputs["pixel_values"], inputs["image_grid_thw"], windows)
    if "video_grid_thw" in inputs:
        found["video"] = visual_saliency(pristine, inputs["pixel_values_videos"], inputs["video_grid_thw"], windows)
    if "input_features" in inputs:
        mask = inputs["feature_attention_mask"]
        found["audio"] = audio_saliency(pristine, inputs["input_features"], mask, windows)
    return found


def blocks_of(config: Any, parts: list[Part]) -> dict[str, list[int]]:
    """Lengths of the Stage I blocks: 2 temporal grids, 50 audio tokens (25 for Phi-4), one image; never across two."""
    sound = 25 if config.model_type == "phi4_multimodal" else 50
    blocks: dict[str, list[int]] = {"video": [], "audio": [], "image": []}
    for part in parts:
        if isinstance(part, Video):
            two_grids = visual_tokens(config, (2, *part.grid[1:]))
            blocks["video"] += cut(visual_tokens(config, part.grid), two_grids)
        if isinstance(part, Image):
            blocks["image"].append(visual_tokens(config, part.grid))
        if isinstance(part, (Audio, Video)) and part.mel_frames is not None:
            blocks["audio"] += cut(audio_tokens(config, part.mel_frames), sound)
    return blocks


def expected_columns(
    pristine: nn.Module,
    parts: list[Part],
    inputs: dict[str, Any],
    saliency: dict[str, Tensor],
    ratios: dict[str, float],
) -> list[int]:
    """Every column of the modalities without a ratio, and the picks of every block of the others."""
    with torch.no_grad():
        features = merged_embeddings(pristine, inputs)
    blocks = blocks_of(pristine.config, parts)
    kept = columns_without(pristine.config, inputs, *ratios).tolist()
    for kind, ratio in ratios.items():
        columns = columns_of(pristine.config, inputs, kind)
        weights = saliency.get(kind, torch.empty(0)).split(blocks[kind])
        for members, weight in zip(columns.split(blocks[kind]), weights, strict=True):
            picks, lead = select(features[members], weight, ratio)
            assert lead > 1e-5, "this prompt leaves a pick to rounding: take another seed"
            kept += members[picks].tolist()
    return sorted(kept)


@dataclass(frozen=True)
class Selection:
    """`features` and `saliency` a selector was given, one row per token, and the columns it `kept`."""

    features: Tensor
    saliency: Tensor
    kept: list[int]


def select_in(
    model: nn.Module,
    inputs: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    *,
    keep_ratio: Any = 0.4,
    entry: str = "generate",
    **options: Any,
) -> Selection:
    """Runs one prompt through `entry` ("generate" or "forward") with a single selector attached."""
    with monkeypatch.context() as patch:
        calls = probes.recorded_calls(patch, DiversitySelector)
        with torch.no_grad(), attach(model, Schedule(before_llm=DiversitySelector(keep_ratio)), **options) as trace:
            if entry == "generate":
                probes.generate(model, inputs, 1)
            else:
                model(**inputs)
    (call,) = calls
    return Selection(call["features"], call["saliency"], trace.stages[0].kept_indices[0].tolist())
