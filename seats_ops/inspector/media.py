"""What a prompt showed and played, as pictures that fit into a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seats_ops.trace.records import MediaItem
from seats_ops.validation import describe

# Pixels; frames beyond MOST are thinned out evenly, and the page says so.
WIDTH, MOST, SOUND_WIDTH = 224, 240, 4096
QUALITY = 72
MEL_SECONDS = 0.01


@dataclass(frozen=True)
class Media:
    """Frames, sounds and pictures of one prompt, each kind in order of appearance.

    Attributes:
        title: of the page, e.g. a file name; shown as text.
        frames: per video uint8 [t, height, width, 3], the first frame of every temporal grid.
        sounds: per sound float [mel bins, 10 ms steps].
        pictures: per picture uint8 [height, width, 3].

    Example:
        >>> import numpy as np
        >>> from seats_ops.inspector import Media
        >>> frames = np.zeros((5, 72, 128, 3), dtype=np.uint8)  # of a video with five temporal grids
        >>> mel = np.zeros((128, 530))  # 5.3 seconds of sound
        >>> media = Media("clip.mp4", frames=[frames], sounds=[mel])  # for trace.to_html("page.html", media)
    """

    title: str = ""
    frames: Sequence[Any] = field(default_factory=tuple)
    sounds: Sequence[Any] = field(default_factory=tuple)
    pictures: Sequence[Any] = field(default_factory=tuple)


def drawn(media: Media, items: Sequence[MediaItem]) -> list[dict[str, Any]]:
    """Of every item its "frames" (of "every" so-manieth grid), "sound" or "picture" as data URIs, where one is given.

    Raises:
        TypeError: no media.
        ValueError: another number of videos, sounds or pictures, or of another length, than the prompt has.
    """
    if not isinstance(media, Media):
        raise TypeError(f"media: expected a seats_ops.inspector.Media, got {describe(media)}")
    given = {
        "video": ("frames", media.frames),
        "audio": ("sounds", media.sounds),
        "image": ("pictures", media.pictures),
    }
    found: list[dict[str, Any]] = [{} for _ in items]
    for kind, (name, values) in given.items():
        places = [place for place, item in enumerate(items) if item.modality == kind]
        if not len(values):
            continue
        if len(values) != len(places):
            raise ValueError(f"media.{name}: expected {len(places)} as the prompt has, got {len(values)}")
        for number, (place, value) in enumerate(zip(places, values, strict=True)):
            found[place] = DRAW[kind](f"media.{name}[{number}]", np.asarray(value), items[place])
    return found


def _frames(where: str, frames: np.ndarray, item: MediaItem) -> dict[str, Any]:
    _check_colours(where, frames, 4)
    if item.grid is not None and len(frames) != item.grid[0]:
        raise ValueError(f"{where}: expected {item.grid[0]} frames, one for every temporal grid, got {len(frames)}")
    every = -(-len(frames) // MOST)
    return {"frames": [_jpeg(frame) for frame in frames[::every]], "every": every}


def _picture(where: str, picture: np.ndarray, item: MediaItem) -> dict[str, Any]:
    _check_colours(where, picture, 3)
    return {"picture": _jpeg(picture)}


def _sound(where: str, mel: np.ndarray, item: MediaItem) -> dict[str, Any]:
    if mel.ndim != 2 or mel.dtype.kind != "f":
        raise ValueError(f"{where}: expected float [mel bins, steps], got {mel.dtype} {list(mel.shape)}")
    if item.seconds is not None:
        played, heard = mel.shape[1] * MEL_SECONDS, item.num_tokens * item.seconds
        if abs(played - heard) > 2 * item.seconds + MEL_SECONDS:
            raise ValueError(f"{where}: expected {heard:.2f} s of sound, as long as its tokens, got {played:.2f} s")
    every = -(-mel.shape[1] // SOUND_WIDTH)
    mel = mel[::-1, ::every]
    low, high = float(mel.min()), float(mel.max())
    grey = ((mel - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
    return {"sound": _encoded(grey, "PNG"), "played": mel.shape[1] * every * MEL_SECONDS}


DRAW = {"video": _frames, "audio": _sound, "image": _picture}


def _check_colours(where: str, pixels: np.ndarray, dims: int) -> None:
    if pixels.ndim != dims or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
        shape = "[t, height, width, 3]" if dims == 4 else "[height, width, 3]"
        raise ValueError(f"{where}: expected uint8 {shape}, got {pixels.dtype} {list(pixels.shape)}")


def _jpeg(pixels: np.ndarray) -> str:
    from PIL import Image

    height = max(1, round(pixels.shape[0] * WIDTH / pixels.shape[1]))
    return _encoded(np.asarray(Image.fromarray(pixels).resize((WIDTH, height), Image.Resampling.LANCZOS)), "JPEG")


def _encoded(pixels: np.ndarray, kind: str) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, quality=QUALITY, optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
