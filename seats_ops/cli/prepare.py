"""From decoded frames and sound to model inputs, with the parts of transformers that work without torchvision."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from transformers import PretrainedConfig, WhisperFeatureExtractor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from .clip import Clip
from .clip_lengths import qwen2_5_audio_tokens
from .decoding import SAMPLING_RATE

MIN_FRAME_TOKENS = 128
"""Qwen2.5-Omni enlarges frames that would give fewer video tokens than this."""


def video_inputs(clip: Clip, vision_config: PretrainedConfig, *, frame_tokens: int) -> dict[str, torch.Tensor]:
    """Patches of a clip as Qwen's video processor lays them out, two frames per patch.

    Args:
        clip: Frames to cut into patches.
        vision_config: Carries `patch_size`, `spatial_merge_size` and `temporal_patch_size`.
        frame_tokens: Upper bound of the video tokens per temporal patch; frames are scaled down to meet it.

    Returns:
        `pixel_values_videos` float32 `[T*H*W, 3*temporal*patch*patch]`, `video_grid_thw` int64 `[1, 3]` (before
        merging), `video_second_per_grid` float32 `[1]` in seconds.

    Raises:
        ValueError: a vision tower that merges another number of frames, or fewer than one token per frame.
    """
    patch, merge = vision_config.patch_size, vision_config.spatial_merge_size
    slots = vision_config.temporal_patch_size
    if slots != 2:
        raise ValueError(f"vision_config.temporal_patch_size: got {slots}, expected 2")
    if frame_tokens < 1:
        raise ValueError(f"frame_tokens: got {frame_tokens}, expected at least 1")
    pixels_per_token = (patch * merge) ** 2
    processor = Qwen2VLImageProcessorPil(
        patch_size=patch,
        merge_size=merge,
        temporal_patch_size=slots,
        size={
            "shortest_edge": min(MIN_FRAME_TOKENS, frame_tokens) * pixels_per_token,
            "longest_edge": frame_tokens * pixels_per_token,
        },
    )
    prepared = processor(list(clip.frames), input_data_format="channels_last", return_tensors="pt")
    # The image processor repeats a still over both temporal slots; a video patch holds two successive frames, so
    # slot 0 comes from the first frame of a pair and slot 1 from the second.
    stills = rearrange(
        prepared["pixel_values"],
        "(grid pair patch) (channel slot pixel) -> grid pair patch channel slot pixel",
        grid=len(clip.frames) // slots,
        pair=slots,
        channel=3,
        slot=slots,
    )
    pairs = torch.stack([stills[:, slot, :, :, slot] for slot in range(slots)], dim=3)
    height, width = prepared["image_grid_thw"][0, 1:].tolist()
    return {
        "pixel_values_videos": rearrange(pairs, "grid patch channel slot pixel -> (grid patch) (channel slot pixel)"),
        "video_grid_thw": torch.tensor([[len(clip.frames) // slots, height, width]], dtype=torch.int64, device="cpu"),
        "video_second_per_grid": torch.tensor([slots / clip.fps], dtype=torch.float32, device="cpu"),
    }


def sound_inputs(sound: np.ndarray, *, num_mel_bins: int) -> dict[str, torch.Tensor]:
    """Log-mel features of float32 `[samples]` at 16 kHz.

    Returns:
        `input_features` float32 `[1, num_mel_bins, frames]` (10 ms each) and `feature_attention_mask` int64
        `[1, frames]`, 1 on the frames that belong to the sound.
    """
    extractor = WhisperFeatureExtractor(feature_size=num_mel_bins, sampling_rate=SAMPLING_RATE)
    # Qwen pads every sound to 300 s. One analysis window of silence gives the same values on the frames that count.
    features = extractor(
        sound,
        sampling_rate=SAMPLING_RATE,
        padding="max_length",
        max_length=len(sound) + extractor.n_fft,
        return_attention_mask=True,
        return_tensors="pt",
    )
    return {
        "input_features": features["input_features"],
        "feature_attention_mask": features["attention_mask"].to(torch.int64),
    }


def num_audio_tokens(feature_attention_mask: torch.Tensor) -> int:
    """Audio tokens that Qwen2.5-Omni's audio tower makes of int `[1, frames]`."""
    return qwen2_5_audio_tokens(int(feature_attention_mask.sum()))
