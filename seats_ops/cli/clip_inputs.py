"""A line of a list of clips as inputs of the model."""

from __future__ import annotations

import dataclasses
from typing import Any

from .clip import Clip, load_clip
from .clip_list import ClipQuestion
from .inputs import prompt_inputs
from .options import Options


def clip_inputs(clip: ClipQuestion, options: Options, config: Any) -> tuple[Clip, dict[str, Any]]:
    """The decoded clip, and the prompt that asks the question about it. Raises ValueError: it cannot be read."""
    try:
        decoded = load_clip(clip.video, fps=options.fps, max_frames=options.max_frames)
    except OSError as error:
        raise ValueError(f"video: expected a file to read, got {clip.video} ({error.strerror})") from error
    inputs, _ = prompt_inputs(dataclasses.replace(options, question=clip.question), decoded, config)
    return decoded, inputs
