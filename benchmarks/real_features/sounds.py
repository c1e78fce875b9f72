"""Sounds of pieces of two people's speech that are joined: who speaks when is known, and the speech is real."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from seats_ops.cli.decoding import read_sound

from .packages import SPEECH, TURNS, packaged
from .speaker import RATE, SAMPLES_PER_TOKEN

TOKENS_PER_PIECE, NUM_PIECES = 40, 6
"""1.6 seconds, what the encoder was trained to hear at once."""
TOKENS = TOKENS_PER_PIECE * NUM_PIECES
PIECE = TOKENS_PER_PIECE * SAMPLES_PER_TOKEN
SEED = 12


@dataclass(frozen=True)
class JoinedSound:
    """float32 [samples] at 16 kHz, who speaks in every piece, and at which sample of the recording it begins."""

    sound: np.ndarray
    speakers: tuple[str, ...]
    starts: tuple[int, ...]


@cache
def recording() -> np.ndarray:
    sound, _ = read_sound(packaged(*SPEECH))
    assert sound is not None  # The digest of the package says which recording it is.
    return sound


@cache
def stretches() -> dict[str, list[tuple[int, int]]]:
    """Samples (first, end) where a speaker goes on for a piece at least, pauses between utterances included."""
    found: list[tuple[str, float, float]] = []
    for line in packaged(*TURNS).read_text(encoding="utf-8").splitlines():
        _, _, speaker, start, end, *_ = line.split()
        if found and found[-1][0] == speaker:
            found[-1] = (speaker, found[-1][1], float(end))
        else:
            found.append((speaker, float(start), float(end)))
    by_speaker: dict[str, list[tuple[int, int]]] = {}
    for speaker, start, end in found:
        first, last = round(start * RATE), min(round(end * RATE), len(recording()))
        if last - first >= PIECE:
            by_speaker.setdefault(speaker, []).append((first, last))
    return by_speaker


def joined_sound(number: int) -> JoinedSound:
    """The sound of this number: speakers by turns, so that every join is a change of speaker."""
    generator = np.random.default_rng([SEED, number])
    turn = [str(name) for name in generator.permutation(sorted(stretches()))]
    speakers = tuple(turn[place % len(turn)] for place in range(NUM_PIECES))
    starts = []
    for speaker in speakers:
        ranges = stretches()[speaker]
        room = np.array([end - first - PIECE + 1 for first, end in ranges])
        first, _ = ranges[int(generator.choice(len(ranges), p=room / room.sum()))]
        starts.append(first + int(generator.integers(0, room[[r[0] for r in ranges].index(first)])))
    sound = np.concatenate([recording()[start : start + PIECE] for start in starts])
    return JoinedSound(sound, speakers, tuple(starts))


def muted(sound: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Silence where bool [tokens] is False."""
    return sound * kept.repeat(SAMPLES_PER_TOKEN)
