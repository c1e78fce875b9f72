"""What is measured of one item: every method at every ratio, and the controls."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import mobilenet, speaker
from .clips import (
    FPS,
    FRAMES_PER_GRID,
    GRIDS,
    GRIDS_PER_SHOT,
    HEIGHT,
    NUM_SHOTS,
    SIDE,
    WIDTH,
    JoinedClip,
    downsampled,
    for_encoder,
    joined_clip,
    shown,
)
from .contenders import BASELINES, OF_SOUND, OF_VIDEO, kept_by
from .coverage import coverage
from .packages import FRAMES, VOICES, packaged
from .prompts import sound_prompt, video_prompt
from .reading import character_error
from .sounds import PIECE, TOKENS, TOKENS_PER_PIECE, joined_sound, muted, recording, stretches
from .summary import FULL, NOTHING, SMALLER

Cells = dict[str, dict[str, float]]


def measure_clip(number: int, ratios: tuple[float, ...]) -> dict[str, Cells]:
    """Of one joined clip, by ratio and method; the controls that no ratio changes are under "1"."""
    clip = joined_clip(number)
    frames = torch.from_numpy(for_encoder(clip.frames, mobilenet.STRIDE))
    features = mobilenet.frame_features(_frame_encoder(), frames).view(GRIDS, FRAMES_PER_GRID, -1, mobilenet.WIDTH)
    # The frames of a grid share their tokens.
    media = features.mean(1).flatten(0, 1)
    layout = video_prompt(GRIDS, HEIGHT, WIDTH, FRAMES_PER_GRID / FPS)
    all_or_none = {FULL: np.ones((GRIDS, HEIGHT * WIDTH), bool), NOTHING: np.zeros((GRIDS, HEIGHT * WIDTH), bool)}
    cells = {"1": {name: {"cer": _error_of(clip, kept)} for name, kept in all_or_none.items()}}
    for ratio in ratios:
        masks = kept_by((*BASELINES, *OF_VIDEO), ratio, layout, media, item=number)
        row = {name: of_clip(clip, media, kept) for name, kept in masks}
        smaller = [character_error(clip.captions[i].text, downsampled(clip, ratio, i)) for i in range(NUM_SHOTS)]
        cells[f"{ratio:g}"] = {**row, SMALLER: {"cer": float(np.mean(smaller))}}
    return cells


def of_clip(clip: JoinedClip, media: Tensor, keep_mask: Tensor) -> dict[str, float]:
    """Of bool [N] kept tokens: shares of all, of captions (seen: in a grid), after cuts; character error; coverage."""
    kept = keep_mask.numpy().reshape(GRIDS, -1)
    radius, facility = coverage(media, keep_mask)
    after = kept[GRIDS_PER_SHOT::GRIDS_PER_SHOT]
    written = np.stack([one.touches(SIDE, HEIGHT, WIDTH) for one in clip.captions])
    by_shot = kept.reshape(NUM_SHOTS, GRIDS_PER_SHOT, -1)
    return {
        "kept": float(kept.mean()),
        "caption": float(by_shot.mean(1)[written].mean()),
        "caption_seen": float(by_shot.any(1)[written].mean()),
        "cer": _error_of(clip, kept),
        "radius": radius,
        "facility": facility,
        "cuts": float(after.any(1).mean()),
        "after_cuts": float(after.mean()),
    }


def measure_sound(number: int, ratios: tuple[float, ...]) -> dict[str, Cells]:
    """Of one joined sound, by ratio and method; the controls that no ratio changes are under "1"."""
    item = joined_sound(number)
    media = speaker.token_features(_voice_encoder(), item.sound)
    layout = sound_prompt(TOKENS)
    controls = {FULL: np.ones(TOKENS, bool), NOTHING: np.zeros(TOKENS, bool)}
    cells = {"1": {name: _voices(item.sound, item.speakers, kept) for name, kept in controls.items()}}
    for ratio in ratios:
        cells[f"{ratio:g}"] = {}
        for name, keep_mask in kept_by((*BASELINES, *OF_SOUND), ratio, layout, media, item=number):
            radius, facility = coverage(media, keep_mask)
            heard = _voices(item.sound, item.speakers, keep_mask.numpy())
            cells[f"{ratio:g}"][name] = {
                "kept": float(keep_mask.float().mean()),
                "early": early(keep_mask.numpy()),
                **heard,
                "radius": radius,
                "facility": facility,
            }
    return cells


def early(kept: np.ndarray) -> float:
    """Share of kept tokens, bool [TOKENS], that are of the first quarter of a piece."""
    return float(kept.reshape(-1, TOKENS_PER_PIECE)[:, : TOKENS_PER_PIECE // 4].sum() / kept.sum())


def _voices(sound: np.ndarray, speakers: tuple[str, ...], kept: np.ndarray) -> dict[str, float]:
    """Cosine of the embeddings of a muted and a whole piece, and the share of pieces nearest to their own speaker."""
    quiet = muted(sound, kept)
    similar, right = [], []
    for place, name in enumerate(speakers):
        part = slice(PIECE * place, PIECE * (place + 1))
        heard = speaker.embedding(_voice_encoder(), quiet[part])
        similar.append(float(heard @ speaker.embedding(_voice_encoder(), sound[part])))
        own, others = (
            [float(heard @ one) for who, one in _known_voices().items() if (who == name) == same]
            for same in (True, False)
        )
        right.append(own[0] > max(others))
    return {"similarity": float(np.mean(similar)), "right": float(np.mean(right))}


@cache
def _known_voices() -> dict[str, Tensor]:
    """Mean embedding of the pieces, end to end, of all that a speaker says."""
    known = {}
    for name, ranges in stretches().items():
        pieces = [recording()[i : i + PIECE] for first, end in ranges for i in range(first, end - PIECE + 1, PIECE)]
        known[name] = torch.stack([speaker.embedding(_voice_encoder(), one) for one in pieces]).mean(0)
    return known


def _error_of(clip: JoinedClip, kept: np.ndarray) -> float:
    return float(np.mean([character_error(one.text, shown(clip, kept, i)) for i, one in enumerate(clip.captions)]))


@cache
def _frame_encoder() -> Any:
    return mobilenet.load(packaged(*FRAMES))


@cache
def _voice_encoder() -> Any:
    return speaker.load(packaged(*VOICES))
