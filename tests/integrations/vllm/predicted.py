"""What `seats-ops plan --engine vllm` predicts for a request."""

from __future__ import annotations

from seats_ops import Schedule
from seats_ops.cli.clip_lengths import clip_lengths, prompt_lengths
from seats_ops.cli.plan_options import PlanOptions
from seats_ops.cli.plan_serving import Serving, plan_serving
from seats_ops.cost import PromptLengths, split_blocks
from tests.integrations.vllm.checkpoint import PIXELS, config

BLOCK_SIZE = 32
"""Of the engines of the tests."""


def planned(schedule: Schedule, lengths: PromptLengths, answer: int = 1, cache: int | None = None) -> Serving:
    """In blocks of 32 tokens."""
    asked = PlanOptions(engine="vllm", block_size=BLOCK_SIZE, answer_tokens=answer, kv_cache=cache)
    return plan_serving(asked, config(), schedule, lengths)


def of_clip(text: int, seconds: float, fps: float = 2.0, side: int = 112, sound: bool = True) -> PromptLengths:
    """Of a prompt with a clip.

    Args:
        text: tokens of everything else.
        side: pixels.
    """
    bounds = {"min_pixels": PIXELS["shortest_edge"], "max_pixels": PIXELS["longest_edge"]}
    clip = clip_lengths(config(), seconds, fps=fps, size=(side, side), sound=sound, **bounds)
    return prompt_lengths(config(), text, clip)


def of_sound(text: int, seconds: float) -> PromptLengths:
    """Of a prompt with a sound of whole seconds: 25 tokens each, cut into blocks of two seconds."""
    return PromptLengths(text, audio_blocks=split_blocks(round(25 * seconds), 50))
