"""Requests that the engine and the adapter are both given, and schedules that both run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from seats_ops import DiversitySelector, Schedule
from seats_ops.methods import method

VIDEO = "<|vision_bos|><|VIDEO|><|vision_eos|>"
IMAGE = "<|vision_bos|><|IMAGE|><|vision_eos|>"
SOUND = "<|audio_bos|><|AUDIO|><|audio_eos|>"
RATE = 16_000


@dataclass(frozen=True)
class Case:
    """A request.

    Attributes:
        prompt: with a mark for every item.
        videos: uint8 [frames, height, width, 3].
        sounds: float32 [samples] at `RATE`.
        images: uint8 [height, width, 3].
        together: the sounds are the videos'.
        fps: frames a second.
        timed: frames come with their times.
    """

    prompt: str
    videos: list[np.ndarray] = field(default_factory=list)
    sounds: list[np.ndarray] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)
    together: bool = False
    fps: float = 2.0
    timed: bool = False


def asked(*parts: str) -> str:
    """What the user wrote, as a prompt."""
    begin = "<|im_start|>system\nYou look and listen.<|im_end|>\n<|im_start|>user\n"
    return begin + "".join(parts) + "<|im_end|>\n<|im_start|>assistant\n"


def clip(seed: int, frames: int = 12, height: int = 112, width: int = 112, patch: int = 14) -> np.ndarray:
    """Squares of colours that scroll, a new row every other frame; no side needs resizing."""
    rng = np.random.default_rng(seed)
    tall = rng.integers(0, 256, (height // patch + frames // 2 + 1, width // patch, 3), dtype=np.uint8)
    wall = tall.repeat(patch, 0).repeat(patch, 1)
    return np.stack([wall[patch // 2 * t : patch // 2 * t + height] for t in range(frames)])


def tone(seed: int, seconds: float = 6.0) -> np.ndarray:
    """A melody with noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    notes = rng.uniform(150, 1200, int(seconds * 4) + 1)
    phase = 2 * np.pi * np.cumsum(notes[(time * 4).astype(int)]) / RATE
    loud = 0.3 + 0.25 * np.sin(5 * time + seed)
    return (loud * np.sin(phase) + 0.02 * rng.standard_normal(len(time))).astype(np.float32)


def picture(seed: int, height: int, width: int) -> np.ndarray:
    return clip(seed, 1, height, width)[0]


CASES = {
    "text": Case(asked("What is the capital of France?")),
    "video": Case(asked(VIDEO, "What happens?"), videos=[clip(1)]),
    "sound": Case(asked(SOUND, "What is heard?"), sounds=[tone(2)]),
    "sound in video": Case(asked(VIDEO, "What happens?"), videos=[clip(3)], sounds=[tone(4)], together=True),
    "another sound": Case(asked(VIDEO, "What happens?"), videos=[clip(3)], sounds=[tone(5)], together=True),
    "longer sound": Case(asked(VIDEO, "What happens?"), videos=[clip(3)], sounds=[tone(5, 9.3)], together=True),
    "3 frames a second": Case(asked(VIDEO, "?"), videos=[clip(6, 20)], sounds=[tone(7, 6.9)], together=True, fps=3.0),
    "1 frame a second": Case(asked(VIDEO, "?"), videos=[clip(8, 10)], sounds=[tone(9, 10.0)], together=True, fps=1.0),
    "7.5 frames a second": Case(asked(VIDEO, "?"), videos=[clip(8, 40)], sounds=[tone(9, 4.1)], together=True, fps=7.5),
    "images": Case(asked(IMAGE, "or", IMAGE, "?"), images=[picture(10, 112, 112), picture(11, 84, 168)]),
    "two videos and a sound": Case(
        asked(VIDEO, "and", SOUND, "or", VIDEO, "?"),
        videos=[clip(12, 8), clip(13, 16, 84, 140)],
        sounds=[tone(14, 5.3)],
    ),
}
RATIOS = {"video": 0.3, "audio": 0.65, "image": 0.5}
SCHEDULES = {
    "all kept": Schedule(DiversitySelector(1.0, weighted=False)),
    "unweighted": Schedule(DiversitySelector(RATIOS, weighted=False)),
    "weighted": Schedule(DiversitySelector(RATIOS)),
    "visionzip": method("visionzip")(None, 0.4),
    "flashvid-adts": method("flashvid-adts")(None, 0.3),
    "evs": method("evs")(None, 0.3),
    "random": method("random")(None, {"video": 0.3, "audio": 0.5}),
}
ALONE = ("video", "sound in video", "3 frames a second")
"""Cases of the published methods: some of them decide on all videos of a prompt together."""


def pairs() -> list[tuple[str, str]]:
    """(schedule, case) that have a reference."""
    return [
        (schedule, case)
        for schedule in SCHEDULES
        for case in CASES
        if schedule in ("all kept", "unweighted", "weighted") or case in ALONE
    ]
