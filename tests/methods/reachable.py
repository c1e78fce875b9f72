"""Methods as schedules that they can make, whatever ratios they have."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2_5OmniThinkerConfig

from seats_ops import Schedule
from seats_ops.methods import Method

CONFIG = Qwen2_5OmniThinkerConfig()


def schedule_of(method: Method, config: Any = CONFIG, **options: Any) -> Schedule:
    """With the first of a few ratios that the method can reach."""
    for ratio in (0.3, 0.5, 0.9):
        try:
            return method(config, ratio, **options)
        except ValueError as error:
            refused = error
    raise refused
