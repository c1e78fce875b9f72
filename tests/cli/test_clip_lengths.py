"""Tokens of a clip against the processors of transformers, the demo's own inputs and the adapter's layout."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import Phi4MultimodalFeatureExtractor, WhisperFeatureExtractor
from transformers.models.qwen2_5_omni import processing_qwen2_5_omni as qwen2_5
from transformers.models.qwen3_omni_moe import processing_qwen3_omni_moe as qwen3
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from seats_ops.cli.checkpoints import named_checkpoint
from seats_ops.cli.clip import Clip
from seats_ops.cli.clip_lengths import (
    ClipLengths,
    clip_lengths,
    mel_frames,
    phi4_audio_tokens,
    prompt_lengths,
    qwen2_5_audio_tokens,
    qwen3_audio_tokens,
    timestamp_tokens,
)
from seats_ops.cli.inputs import own_inputs
from seats_ops.cli.interleave import grid_runs, joined
from seats_ops.cli.prompt import tokenizer
from seats_ops.cost import PromptLengths
from seats_ops.integrations.huggingface.prompt.token_layout import MediaTokens, build_token_layout


@pytest.mark.parametrize(
    ("seconds", "fps", "size", "sound"),
    [
        (6.0, 2.0, (320, 180), True),
        (5.0, 2.0, (64, 112), False),
        (9.0, 1.0, (640, 360), True),
        (1.0, 2.0, (56, 56), True),
    ],
)
def test_lengths_are_those_of_the_demos_inputs(
    tiny_config: Any, seconds: float, fps: float, size: tuple[int, int], sound: bool
) -> None:
    """Blocks and windows too: those that the adapter lays out for these inputs."""
    count = int(max(seconds * fps, 4)) // 2 * 2
    frames = np.zeros((count, size[1], size[0], 3), dtype=np.uint8)
    heard = np.zeros(round(seconds * 16_000), dtype=np.float32) if sound else None
    clip = Clip("clip", frames, heard, seconds, count / seconds)
    inputs = own_inputs(clip, "What?", tiny_config)
    layout = build_token_layout(
        inputs["input_ids"], MediaTokens.from_config(tiny_config), video_grid_thw=inputs["video_grid_thw"]
    )
    laid_out = PromptLengths.from_layout(layout)
    found = prompt_lengths(
        tiny_config, laid_out.text, clip_lengths(tiny_config, seconds, fps=fps, size=size, sound=sound)
    )
    assert (found.video_blocks, found.audio_blocks) == (laid_out.video_blocks, laid_out.audio_blocks)
    assert (found.windows or (found.video, 0)) == (laid_out.windows if sound else (laid_out.video, 0))
    assert found.total == laid_out.total == inputs["input_ids"].shape[1]


@pytest.mark.parametrize("samples", [16_000, 16_001, 15_999, 40_159, 40_160, 40_161])
def test_audio_tokens_are_those_of_the_processors(samples: int) -> None:
    sound = np.zeros(samples, dtype=np.float32)
    mask = WhisperFeatureExtractor(feature_size=128)(sound, sampling_rate=16_000, return_attention_mask=True)
    frames = int(np.asarray(mask["attention_mask"]).sum())
    assert mel_frames(samples) == frames
    assert qwen2_5_audio_tokens(frames) == qwen2_5._get_feat_extract_output_lengths(frames)
    assert qwen3_audio_tokens(frames) == qwen3._get_feat_extract_output_lengths(frames)
    assert (
        phi4_audio_tokens(samples) == Phi4MultimodalFeatureExtractor()(sound, sampling_rate=16_000)["audio_embed_sizes"]
    )


@pytest.mark.parametrize("frames", [3, 99, 100, 101, 187, 200, 6000, 12345])
def test_audio_tokens_of_any_length(frames: int) -> None:
    assert qwen2_5_audio_tokens(frames) == qwen2_5._get_feat_extract_output_lengths(frames)
    assert qwen3_audio_tokens(frames) == qwen3._get_feat_extract_output_lengths(frames)


@pytest.mark.parametrize(
    ("grids", "per_grid", "audio", "spacing"),
    [
        (5, 4, 65, 1.0),
        (3, 6, 90, 2.0),
        (8, 2, 20, 0.5),
        (40, 1, 30, 0.05),
        (4, 2, 0, 1.0),
        (1, 3, 13, 1.0),
        (6, 2, 80, 4 / 3),
    ],
)
def test_runs_are_those_of_qwen3_omnis_processor(grids: int, per_grid: int, audio: int, spacing: float) -> None:
    processor = SimpleNamespace(
        audio_bos_token="[",
        audio_eos_token="]",
        video_token="V",
        audio_token="A",
        video_processor=SimpleNamespace(merge_size=2),
    )
    written = qwen3.Qwen3OmniMoeProcessor.replace_video_with_audio_token(
        processor,
        {"video_grid_thw": np.array([[grids, 2, 2 * per_grid]]), "video_second_per_grid": [spacing]},
        0,
        {"num_audio_tokens": np.array([audio])},
        0,
        position_id_per_seconds=13.0,
    )
    runs = grid_runs(grids, per_grid, audio, seconds_per_grid=spacing, audio_rate=13.0)
    assert "[" + "".join("V" * v + "A" * a for v, a in runs) + "]" == written


def test_runs_that_touch_are_one() -> None:
    """As the layout sees them: it tells runs of one modality apart by what stands between them."""
    assert joined([(4, 9), (4, 0), (4, 2), (0, 7), (3, 0)]) == [(4, 9), (8, 9), (3, 0)]
    assert joined([]) == []


def test_timestamps_are_those_of_qwen3_vls_processor() -> None:
    """Seven minutes at half a frame a second, so that a time has from one to three digits."""
    config = named_checkpoint("qwen3-vl-8b-instruct").config()
    clip = clip_lengths(config, 420.0, fps=0.5, size=(640, 360))
    processor = SimpleNamespace(
        video_processor=SimpleNamespace(merge_size=2, temporal_patch_size=2),
        vision_start_token="S",
        vision_end_token="E",
        video_token="",
    )
    processor._calculate_timestamps = lambda *given: Qwen3VLProcessor._calculate_timestamps(processor, *given)
    written = Qwen3VLProcessor.replace_video_token(
        processor,
        {
            "video_grid_thw": np.array([[clip.grids, 2 * clip.height, 2 * clip.width]]),
            "video_metadata": [SimpleNamespace(fps=0.5, frames_indices=list(range(210)))],
        },
        0,
    )
    stamps = written.removesuffix("SE").split("SE")
    assert clip.grids == len(stamps) == 105
    assert clip.timestamps == sum(len(tokenizer().encode(stamp)) + 2 for stamp in stamps)
    assert timestamp_tokens(12.5) == len(tokenizer().encode("<12.5 seconds>")) + 2


def lengths_of(name: str, seconds: float, **options: Any) -> ClipLengths:
    return clip_lengths(named_checkpoint(name).config(), seconds, **options)


def test_pictures_keep_the_processors_bounds() -> None:
    """768 tokens of 28 x 28 pixels at most, for 1280 x 720: 36 x 20 = 720; a small picture gets 128 at least."""
    clip = lengths_of("7b", 120)
    assert (clip.grids, clip.height, clip.width, clip.audio) == (120, 20, 36, 3000)
    small = lengths_of("7b", 120, size=(64, 36))
    assert 128 <= small.per_grid < 180
    bounded = lengths_of("7b", 120, max_pixels=100 * 28 * 28)
    assert bounded.per_grid <= 100
    # 24576 * 32 * 32 pixels for all frames of Qwen3-VL together, two frames a token.
    many = lengths_of("qwen3-vl-2b-instruct", 600)
    assert 10_000 < many.video <= 24_576 // 2


def test_frames_are_spread_over_a_long_clip() -> None:
    clip = lengths_of("qwen3-omni-30b-a3b-instruct", 100, max_frames=20)
    assert (clip.grids, clip.seconds_per_grid, clip.audio) == (10, 10.0, 1300)
    lengths = prompt_lengths(named_checkpoint("qwen3-omni-30b-a3b-instruct").config(), 7, clip)
    assert lengths.windows == ((clip.per_grid, 130),) * 10
    assert lengths.audio_blocks == (50,) * 26


def test_families_of_one_modality() -> None:
    assert lengths_of("qwen2.5-vl-7b-instruct", 60).audio == 0
    heard = lengths_of("phi-4-multimodal-instruct", 60)
    assert (heard.video, heard.audio) == (0, 750)
    assert prompt_lengths(named_checkpoint("phi-4-multimodal-instruct").config(), 9, heard).audio_blocks == (25,) * 30


def test_clips_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"seconds: expected enough for one audio token, got 0\.01"):
        lengths_of("7b", 0.01)
    with pytest.raises(ValueError, match="resolution: got 3000x2"):
        lengths_of("7b", 10, size=(3000, 2))
    with pytest.raises(ValueError, match="min_pixels: expected at most max_pixels 10000, got 20000"):
        lengths_of("7b", 10, min_pixels=20_000, max_pixels=10_000)
    with pytest.raises(ValueError, match="max_frames: expected at least 2, got 1"):
        lengths_of("7b", 10, max_frames=1)
