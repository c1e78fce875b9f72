"""Preparation: two frames per patch, the order of patches, the features of a sound, counts of tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import WhisperFeatureExtractor
from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import _get_feat_extract_output_lengths

from seats_ops.cli.clip import Clip, bundled_clip, load_clip
from seats_ops.cli.inputs import own_inputs
from seats_ops.cli.prepare import num_audio_tokens, sound_inputs, video_inputs

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)


def clip_of(frames: np.ndarray, fps: float = 2.0) -> Clip:
    return Clip("frames", frames, None, len(frames) / fps, fps)


def patches_by_loop(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """One row per 14 x 14 patch of two frames, patches of a 2 x 2 group next to each other, written out."""
    resized = [np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)) for frame in frames]
    normed = [(frame.astype(np.float32) / 255 - MEAN) / STD for frame in resized]
    rows = []
    for first, second in zip(normed[::2], normed[1::2], strict=True):
        for top in range(0, height, 28):
            for left in range(0, width, 28):
                for y, x in ((top, left), (top, left + 14), (top + 14, left), (top + 14, left + 14)):
                    both = [frame[y : y + 14, x : x + 14] for frame in (first, second)]
                    rows.append(np.stack(both).transpose(3, 0, 1, 2).reshape(-1))
    return np.stack(rows)


def test_patches_hold_two_successive_frames(tiny_config: Any) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 90, 150, 3), dtype=np.uint8)
    inputs = video_inputs(clip_of(frames), tiny_config.vision_config, frame_tokens=12)
    _, height, width = inputs["video_grid_thw"][0].tolist()
    assert inputs["video_grid_thw"].tolist() == [[3, 4, 8]]
    expected = patches_by_loop(frames, 14 * height, 14 * width)
    assert inputs["pixel_values_videos"].shape == expected.shape
    np.testing.assert_allclose(inputs["pixel_values_videos"].numpy(), expected, atol=1e-5)


def test_a_still_fills_both_slots_and_motion_does_not(tiny_config: Any) -> None:
    frames = np.zeros((4, 56, 56, 3), dtype=np.uint8)
    frames[3] = 255
    values = video_inputs(clip_of(frames), tiny_config.vision_config, frame_tokens=4)["pixel_values_videos"]
    slots = values.reshape(2, -1, 3, 2, 14 * 14)
    assert torch.equal(slots[0, :, :, 0], slots[0, :, :, 1])
    assert (slots[1, :, :, 1] - slots[1, :, :, 0]).min() > 3


@pytest.mark.parametrize("fps", [1.0, 2.0, 4.0])
def test_a_patch_lasts_two_frames(tiny_config: Any, fps: float) -> None:
    frames = np.zeros((2, 56, 56, 3), dtype=np.uint8)
    inputs = video_inputs(clip_of(frames, fps), tiny_config.vision_config, frame_tokens=4)
    assert inputs["video_second_per_grid"].tolist() == [2 / fps]


@pytest.mark.parametrize("frame_tokens", [1, 40, 448, 768])
def test_frames_stay_within_their_tokens(tiny_config: Any, frame_tokens: int) -> None:
    frames = np.zeros((2, 720, 1280, 3), dtype=np.uint8)
    grid = video_inputs(clip_of(frames), tiny_config.vision_config, frame_tokens=frame_tokens)["video_grid_thw"]
    assert 0.75 * frame_tokens <= int(grid.prod()) // 4 <= frame_tokens


def test_another_number_of_slots_is_refused(tiny_config: Any) -> None:
    vision = type(tiny_config.vision_config)(temporal_patch_size=1)
    with pytest.raises(ValueError, match="temporal_patch_size: got 1, expected 2"):
        video_inputs(clip_of(np.zeros((2, 56, 56, 3), dtype=np.uint8)), vision, frame_tokens=4)


def test_sound_features_are_those_of_300_seconds_of_padding() -> None:
    sound = load_clip(bundled_clip()).sound
    assert sound is not None
    inputs = sound_inputs(sound, num_mel_bins=128)
    # Qwen2.5-Omni's own settings, from its published preprocessor_config.json.
    qwen = WhisperFeatureExtractor(feature_size=128, sampling_rate=16_000, chunk_length=300)
    full = qwen(sound, sampling_rate=16_000, padding="max_length", return_attention_mask=True, return_tensors="pt")
    frames = int(full["attention_mask"].sum())
    assert int(inputs["feature_attention_mask"].sum()) == frames
    assert torch.equal(inputs["input_features"][..., :frames], full["input_features"][..., :frames])


@pytest.mark.parametrize("frames", [3, 4, 5, 6, 100, 199, 200, 201, 532, 30_000])
def test_audio_tokens_are_counted_as_by_qwens_processor(frames: int) -> None:
    mask = torch.zeros(1, frames + 7, dtype=torch.int64)
    mask[0, :frames] = 1
    assert num_audio_tokens(mask) == _get_feat_extract_output_lengths(frames)


def test_the_model_takes_the_inputs(tiny_config: Any, tiny_model: Any, make_video: Callable[..., Path]) -> None:
    inputs = own_inputs(load_clip(make_video()), "What is this?", tiny_config, frame_tokens=8)
    with torch.no_grad():
        logits = tiny_model(**inputs).logits
    assert logits.shape == (1, inputs["input_ids"].shape[1], tiny_config.text_config.vocab_size)
    assert bool(logits.isfinite().all())
