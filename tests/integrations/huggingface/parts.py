"""What a prompt is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """Ordinary tokens."""

    count: int


@dataclass(frozen=True)
class Audio:
    """A sound of its own, `mel_frames` frames of 10 ms."""

    mel_frames: int


@dataclass(frozen=True)
class Image:
    """One picture of `grid` = (1, height, width) patches before merging."""

    grid: tuple[int, int, int]


@dataclass(frozen=True)
class Video:
    """A clip of `grid` = (time, height, width) patches before merging; with `mel_frames` its sound is interleaved."""

    grid: tuple[int, int, int]
    seconds_per_grid: float = 1.0
    mel_frames: int | None = None


Part = Text | Audio | Image | Video
