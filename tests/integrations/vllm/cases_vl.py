"""Requests to Qwen2.5-VL and Qwen3-VL, and the schedules that they are answered with."""

from __future__ import annotations

from functools import partial

import numpy as np

from seats_ops import DiversitySelector, Schedule
from seats_ops.methods import method
from tests.integrations.vllm.cases import Case, asked, clip
from tests.integrations.vllm.checkpoint_vl import PATCH

VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
RATIOS = {"video": 0.3, "image": 0.5}
SCHEDULES = {
    "unweighted": Schedule(DiversitySelector(RATIOS, weighted=False)),
    "visionzip": method("visionzip")(None, 0.4),
    "weighted": Schedule(DiversitySelector(RATIOS)),
}
ALONE = ("video", "3 frames a second")
"""Cases of the published method, which decides on all videos of a prompt together."""
NAMES = ("text", "video", "image", "two videos", "video and image", "3 frames a second")


def cases(family: str) -> dict[str, Case]:
    """By name; the sides of a picture are given in tokens."""
    side = 2 * PATCH[family]

    def film(seed: int, frames: int, height: int, width: int) -> np.ndarray:
        return clip(seed, frames, height * side, width * side, PATCH[family])

    def picture(seed: int, height: int, width: int) -> np.ndarray:
        return film(seed, 1, height, width)[0]

    case = partial(Case, timed=True)
    found = [
        case(asked("What is the capital of France?")),
        case(asked(VIDEO, "What happens?"), videos=[film(1, 12, 4, 4)]),
        case(asked(IMAGE, "What is this?"), images=[picture(2, 4, 6)]),
        case(asked(VIDEO, "or", VIDEO, "?"), videos=[film(3, 8, 4, 4), film(4, 14, 3, 5)]),
        case(asked(IMAGE, "and", VIDEO), videos=[film(5, 10, 2, 4)], images=[picture(6, 3, 5)]),
        case(asked(VIDEO, "?"), videos=[film(7, 20, 3, 3)], fps=3.0),
    ]
    return dict(zip(NAMES, found, strict=True))


def pairs() -> list[tuple[str, str]]:
    """(schedule, case) that have a reference."""
    return [(schedule, case) for schedule in SCHEDULES for case in NAMES if schedule != "visionzip" or case in ALONE]
