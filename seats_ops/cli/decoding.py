"""Reading a video file with PyAV: when its frames are shown, the frames of given moments, the sound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData

SAMPLING_RATE = 16_000
"""Sound samples per second that Qwen2.5-Omni's feature extractor expects."""

SHORTEST_SOUND = SAMPLING_RATE // 25
"""Samples of one audio token; less is no sound to a model."""

_TICK = 1e-4
"""Seconds: containers round the times of frames, and a moment that falls on the start of a frame means that frame."""


@dataclass(frozen=True)
class VideoTiming:
    """When a video's frames are shown, in seconds of the clock it shares with the sound.

    Attributes:
        frames: Their number.
        start, last, end: When the first is shown, when the last is, and until when.
        clocked: The file says so; False for a bare stream, whose frames only have a rate.
    """

    frames: int
    start: float
    last: float
    end: float
    clocked: bool = True

    @property
    def gap(self) -> float:
        """Mean seconds from one frame to the next."""
        return (self.end - self.start) / self.frames


def video_timing(path: Path) -> VideoTiming:
    """From the packets, without decoding: what a container announces need not be what it holds.

    Raises:
        ValueError: the file is damaged, cut off, or has no video.
    """
    with _opened(path) as container:
        stream = _video_stream(container, path)
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        usual = float(1 / (stream.average_rate or stream.guessed_rate or 25))
        announced = float((stream.duration or 0) * stream.time_base)
    if not packets:
        raise ValueError(f"video: {path.name} holds no frames")
    if any(packet.pts is None for packet in packets):
        return VideoTiming(len(packets), 0.0, (len(packets) - 1) * usual, len(packets) * usual, clocked=False)
    packets.sort(key=lambda packet: packet.pts)
    start, last = (float(packet.pts * packet.time_base) for packet in (packets[0], packets[-1]))
    # Some containers give the last frame a duration of one tick: it is shown as long as any other at least.
    gaps = [float((after.pts - before.pts) * after.time_base) for before, after in pairwise(packets)]
    held = max(float((packets[-1].duration or 0) * packets[-1].time_base), min(gaps, default=usual))
    timing = VideoTiming(len(packets), start, last, last + held)
    if announced > 1.1 * (timing.end - start) + 2 * timing.gap:
        raise ValueError(
            f"video: {path.name} is cut off: it announces {announced:.1f} s and holds {timing.end - start:.1f} s"
        )
    return timing


def read_frames(path: Path, timing: VideoTiming, moments: list[float]) -> list[np.ndarray]:
    """The frame shown at each of the ascending `moments`, uint8 RGB `[height, width, 3]`, upright, all of one size.

    Raises:
        ValueError: the file is damaged: it does not decode as far as its packets reach.
    """
    found: list[np.ndarray] = []
    with _opened(path) as container:
        stream = _video_stream(container, path)
        size: tuple[int, int] | None = None
        for frame, until in _with_end(container.decode(stream), timing):
            while len(found) < len(moments) and moments[len(found)] < until - _TICK:
                size = size or _square_pixels(frame, stream.sample_aspect_ratio)
                found.append(_upright(frame, size))
            if len(found) == len(moments):
                return found
    raise ValueError(f"video: {path.name} is damaged: only {len(found)} of {len(moments)} sampled frames decode")


def read_sound(path: Path) -> tuple[np.ndarray | None, float]:
    """float32 `[samples]`, mono, and when it starts on the file's clock; None without (audible) sound.

    Raises:
        ValueError: the sound is damaged.
    """
    with _opened(path) as container:
        if not container.streams.audio:
            return None, 0.0
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLING_RATE)
        start, pieces = None, []
        for frame in container.decode(container.streams.audio[0]):
            start = frame.time if start is None else start
            pieces += resampler.resample(frame)
        if pieces:
            pieces += resampler.resample(None)
    samples = [piece.to_ndarray().reshape(-1).astype(np.float32) for piece in pieces]
    if sum(map(len, samples)) < SHORTEST_SOUND:
        return None, 0.0
    return np.concatenate(samples), start or 0.0


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A name is a file's, never an address; nor does a playlist in the file open another one."""
    with path.open("rb") as file:
        try:
            options = {"protocol_whitelist": "none"}
            with av.open(file, container_options=options, metadata_errors="replace") as container:
                yield container
        except (av.FFmpegError, OSError) as error:
            raise ValueError(f"video: {path.name} is damaged or no video ({error.strerror})") from error


def _video_stream(container: Any, path: Path) -> Any:
    """The first that is not the cover of a piece of music."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise ValueError(f"video: {path.name} has no video stream")


def _with_end(frames: Iterator[Any], timing: VideoTiming) -> Iterator[tuple[Any, float]]:
    """Every frame with the time until which it is shown."""
    held, held_time = None, timing.start
    for number, frame in enumerate(frames):
        time = frame.time if timing.clocked and frame.time is not None else timing.start + number * timing.gap
        if held is not None:
            yield held, time
        held, held_time = frame, time
    if held is not None:
        # Decoders may swallow a frame or two at the end; where they stop earlier, nobody knows what was to be seen.
        yield held, timing.end if held_time > timing.last - 3 * timing.gap else held_time


def _square_pixels(frame: Any, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height of the frame once its pixels are square; the longer of the two shrinks."""
    ratio = float(aspect or 1)
    return max(1, round(frame.width * min(ratio, 1.0))), max(1, round(frame.height / max(ratio, 1.0)))


def _upright(frame: Any, size: tuple[int, int]) -> np.ndarray:
    """As a player shows it: phones store what they filmed sideways, together with a matrix that turns or mirrors it."""
    image = frame.reformat(width=size[0], height=size[1], format="rgb24").to_ndarray()
    stored = frame.side_data.get(SideData.DISPLAYMATRIX)
    if stored is None:
        return image
    # x' = a x + c y and y' = b x + d y; only their signs count, for a picture is turned by right angles.
    a, b, _, c, d = np.frombuffer(bytes(stored), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
