"""Requests to further families, and the schedules that they are answered with."""

from __future__ import annotations

from functools import partial

import numpy as np

from seats_ops import DiversitySelector, Schedule
from seats_ops.methods import method
from tests.integrations.vllm.cases import Case, asked, clip, tone
from tests.integrations.vllm.checkpoint_families import PATCH

VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
SOUND = "<|audio_start|><|audio_pad|><|audio_end|>"
RATIOS = {"video": 0.3, "audio": 0.65, "image": 0.5}
SCHEDULES = {
    "unweighted": Schedule(DiversitySelector(RATIOS, weighted=False)),
    "visionzip": method("visionzip")(None, 0.4),
    "weighted": Schedule(DiversitySelector(RATIOS)),
}
ALONE = ("video", "3 frames a second", "sound in video", "1 frame a second")
"""Cases of the published method, which decides on all videos of a prompt together."""


def cases(family: str) -> dict[str, Case]:
    """By name; the sides of a picture are given in tokens."""
    side, hears = 2 * PATCH[family], family == "qwen3_omni"

    def film(seed: int, frames: int, height: int, width: int) -> np.ndarray:
        return clip(seed, frames, height * side, width * side, PATCH[family])

    def picture(seed: int, height: int, width: int) -> np.ndarray:
        return film(seed, 1, height, width)[0]

    case = partial(Case, timed=not hears)
    both = partial(Case, together=True)
    found = {
        "text": case(asked("What is the capital of France?")),
        "video": case(asked(VIDEO, "What happens?"), videos=[film(1, 12, 4, 4)]),
        "image": case(asked(IMAGE, "What is this?"), images=[picture(2, 4, 6)]),
        "two videos": case(asked(VIDEO, "or", VIDEO, "?"), videos=[film(3, 8, 4, 4), film(4, 14, 3, 5)]),
        "video and image": case(asked(IMAGE, "and", VIDEO), videos=[film(5, 10, 2, 4)], images=[picture(6, 3, 5)]),
    }
    if not hears:
        return found | {"3 frames a second": case(asked(VIDEO, "?"), videos=[film(7, 20, 3, 3)], fps=3.0)}
    return found | {
        "sound": case(asked(SOUND, "What is heard?"), sounds=[tone(8)]),
        "sound in video": both(asked(VIDEO, "What happens?"), videos=[film(9, 12, 4, 4)], sounds=[tone(10)]),
        "1 frame a second": both(asked(VIDEO, "?"), videos=[film(11, 8, 3, 4)], sounds=[tone(12, 9.3)], fps=1.0),
        "video and sound": case(asked(SOUND, "or", VIDEO, "?"), videos=[film(13, 10, 4, 3)], sounds=[tone(14, 5.3)]),
    }


def pairs(family: str) -> list[tuple[str, str]]:
    """(schedule, case) that have a reference."""
    names = cases(family)
    return [(schedule, case) for schedule in SCHEDULES for case in names if schedule != "visionzip" or case in ALONE]
