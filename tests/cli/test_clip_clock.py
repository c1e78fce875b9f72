"""Positions follow the frames that were really sampled, and picture and sound share one clock."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from seats_ops.cli.clip import Clip, load_clip
from seats_ops.cli.inputs import own_inputs

RATE = 16_000


def write(path: Path, moments: list[float], *, sound: tuple[float, float] | None = None) -> Path:
    """A frame at each of the moments, frame n as bright as 4 n; sound as (start, seconds) of constant loudness."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt, video.bit_rate = 64, 48, "yuv420p", 4_000_000
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="mono") if sound else None
        for number, moment in enumerate(moments):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * moment), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and sound is not None:
            loud = np.full((1, round(RATE * sound[1])), 9000, np.int16)
            samples = av.AudioFrame.from_ndarray(loud, format="s16", layout="mono")
            samples.sample_rate, samples.time_base, samples.pts = RATE, Fraction(1, RATE), round(RATE * sound[0])
            container.mux(audio.encode(samples))
            container.mux(audio.encode())
    return path


def steady(seconds: float, rate: float = 10.0, start: float = 0.0) -> list[float]:
    return [start + number / rate for number in range(round(seconds * rate))]


def numbers(clip: Clip) -> list[int]:
    """Which frames of the file were sampled."""
    return [round(float(frame.mean()) / 4) for frame in clip.frames]


@pytest.mark.parametrize(
    ("seconds", "options"),
    [
        (5.0, {}),
        (5.0, {"max_frames": 4}),
        (5.3, {"max_frames": 6}),
        (0.4, {}),
        (1.1, {}),
        (2.0, {"fps": 1000.0}),
        (5.0, {"fps": 0.1}),
    ],
)
def test_positions_span_the_video(tmp_path: Path, tiny_config: Any, seconds: float, options: dict[str, Any]) -> None:
    clip = load_clip(write(tmp_path / "clip.mkv", steady(seconds)), **options)
    inputs = own_inputs(clip, "What?", tiny_config, frame_tokens=4)
    span = int(inputs["video_grid_thw"][0, 0]) * float(inputs["video_second_per_grid"])
    assert clip.duration == pytest.approx(seconds)
    assert span == pytest.approx(seconds)


def test_frames_are_evenly_spread_in_time_where_their_rate_varies(tmp_path: Path) -> None:
    # A burst of ten in the first fifth of a second, then five seconds of one frame each.
    moments = [*steady(0.2, 50.0), 1.0, 2.0, 3.0, 4.0, 5.0]
    clip = load_clip(write(tmp_path / "burst.mkv", moments), fps=1.0)
    step = clip.duration / len(clip.frames)
    expected = [max(n for n, moment in enumerate(moments) if moment <= k * step) for k in range(len(clip.frames))]
    assert clip.duration > 5.0
    assert numbers(clip) == expected


@pytest.mark.parametrize("suffix", ["mkv", "mov"])
def test_a_shared_late_start_changes_nothing(tmp_path: Path, suffix: str) -> None:
    early, late = (
        load_clip(write(tmp_path / f"{start}.{suffix}", steady(2.0, start=start), sound=(start, 2.0)))
        for start in (0.0, 7.0)
    )
    assert late.duration == pytest.approx(early.duration) == pytest.approx(2.0)
    assert numbers(late) == numbers(early) == [0, 5, 10, 15]
    assert early.sound is not None and late.sound is not None
    assert len(late.sound) == len(early.sound) == 2 * RATE


def test_sound_that_starts_later_waits_in_silence(tmp_path: Path) -> None:
    clip = load_clip(write(tmp_path / "clip.mkv", steady(3.0), sound=(1.0, 2.0)))
    assert clip.sound is not None
    assert len(clip.sound) == 3 * RATE
    assert not clip.sound[: RATE - 1].any() and clip.sound[RATE + 1 :].all()
    assert numbers(clip) == [0, 5, 10, 15, 20, 25]


def test_a_video_that_starts_later_waits_with_its_first_frame(tmp_path: Path) -> None:
    clip = load_clip(write(tmp_path / "clip.mkv", steady(2.0, start=1.0), sound=(0.0, 3.0)))
    assert clip.duration == pytest.approx(3.0)
    assert numbers(clip) == [0, 0, 0, 5, 10, 15]
    assert clip.sound is not None and len(clip.sound) == 3 * RATE


@pytest.mark.parametrize("seconds", [0.5, 2.0, 5.0])
def test_the_sound_may_be_shorter_or_longer_than_the_video(
    tmp_path: Path, seconds: float, tiny_config: Any, make_video: Callable[..., Path]
) -> None:
    clip = load_clip(write(tmp_path / "clip.mkv", steady(2.0), sound=(0.0, seconds)))
    inputs = own_inputs(clip, "What?", tiny_config, frame_tokens=4)
    sounds = int((inputs["input_ids"] == tiny_config.audio_token_id).sum())
    assert clip.duration == pytest.approx(2.0)
    assert sounds == pytest.approx(25 * seconds, abs=1)


def test_a_sound_too_short_for_a_token_is_none(tmp_path: Path, tiny_config: Any) -> None:
    clip = load_clip(write(tmp_path / "clip.mkv", steady(2.0), sound=(0.0, 0.01)))
    assert clip.sound is None
    assert own_inputs(clip, "What?", tiny_config, frame_tokens=4)["use_audio_in_video"] is False
