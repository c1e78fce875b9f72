"""From seconds, frames and pixels to tokens, as the processors of transformers count them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seats_ops.cost import PromptLengths, split_blocks
from seats_ops.integrations.huggingface.families.family import FAMILIES
from seats_ops.layout import MediaShape, Modality
from seats_ops.methods.seats import family_name

from .interleave import chunk_runs, grid_runs, joined

FRAMES_PER_GRID, MIN_FRAMES, SAMPLING_RATE = 2, 4, 16_000


def mel_frames(samples: int) -> int:
    """Whisper's: one every 10 ms, the last one begun."""
    return math.ceil(samples / 160)


def qwen2_5_audio_tokens(frames: int) -> int:
    """25 a second, of mel frames: two strides of two."""
    after_convolution = (frames - 1) // 2 + 1
    return (after_convolution - 2) // 2 + 1


def qwen3_audio_tokens(frames: int) -> int:
    """13 a second, of mel frames: three strides of two in chunks of 100."""
    rest = frames % 100
    for _ in range(3):
        rest = (rest - 1) // 2 + 1
    return frames // 100 * 13 + rest


def phi4_audio_tokens(samples: int) -> int:
    """12.5 a second: eight windows of 25 ms, 10 ms apart, one token."""
    return math.ceil(((samples - 400) // 160 + 1) / 8)


@dataclass(frozen=True)
class Rules:
    """How a family's processor counts.

    Attributes:
        thinker: class name of the model, as in `integrations.family`.
        side: pixels of one video token's side; None: no video.
        pixels: least and most of a frame, or with `whole_video` of all frames together.
        whole_video: what `pixels` bounds; an odd frame at the end is repeated instead of left out.
        audio_tokens: of a number of samples at 16 kHz; None: no sound.
    """

    thinker: str
    side: int | None = None
    pixels: tuple[int, int] = (0, 0)
    whole_video: bool = False
    audio_tokens: Callable[[int], int] | None = None


# Bounds of Qwen2.5 and of Qwen3-Omni are the defaults of their processors in transformers, 128 to 768 tokens; those of
# Qwen3-VL are in its checkpoints' video_preprocessor_config.json.
_PER_FRAME_28, _PER_FRAME_32 = (128 * 28**2, 768 * 28**2), (128 * 32**2, 768 * 32**2)
_WHOLE_VIDEO = (4096, 25_165_824)
RULES = {
    "qwen2_5_omni": Rules(
        "Qwen2_5OmniThinkerForConditionalGeneration",
        28,
        _PER_FRAME_28,
        audio_tokens=lambda samples: qwen2_5_audio_tokens(mel_frames(samples)),
    ),
    "qwen3_omni_moe": Rules(
        "Qwen3OmniMoeThinkerForConditionalGeneration",
        32,
        _PER_FRAME_32,
        audio_tokens=lambda samples: qwen3_audio_tokens(mel_frames(samples)),
    ),
    "qwen2_5_vl": Rules("Qwen2_5_VLForConditionalGeneration", 28, _PER_FRAME_28),
    "qwen3_vl": Rules("Qwen3VLForConditionalGeneration", 32, _WHOLE_VIDEO, whole_video=True),
    "qwen3_vl_moe": Rules("Qwen3VLMoeForConditionalGeneration", 32, _WHOLE_VIDEO, whole_video=True),
    "phi4_multimodal": Rules("Phi4MultimodalForCausalLM", audio_tokens=phi4_audio_tokens),
}


@dataclass(frozen=True)
class ClipLengths:
    """Tokens of one clip.

    Attributes:
        grids, height, width: temporal patches, and video tokens down and across each; 0 without video.
        audio: tokens.
        timestamps: tokens of text that the processor writes between the temporal patches.
        seconds_per_grid: from one temporal patch to the next.
    """

    grids: int = 0
    height: int = 0
    width: int = 0
    audio: int = 0
    timestamps: int = 0
    seconds_per_grid: float = 1.0

    @property
    def per_grid(self) -> int:
        return self.height * self.width

    @property
    def video(self) -> int:
        return self.grids * self.per_grid


def rules_of(config: Any) -> Rules:
    """Raises TypeError: the config is no known family's."""
    return RULES[family_name(config)]


def audio_block(config: Any) -> int:
    """Audio tokens of one Stage I block, as the adapter cuts them."""
    return next(family.audio_block for family in FAMILIES if family.thinker == rules_of(config).thinker)


def clip_lengths(
    config: Any,
    seconds: float,
    *,
    fps: float = 2.0,
    size: tuple[int, int] = (1280, 720),
    sound: bool = True,
    max_frames: int = 768,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> ClipLengths:
    """Tokens of a clip, of the modalities that the family takes.

    Args:
        config: of a whole model or its thinker.
        seconds: of the clip.
        fps: frames looked at per second.
        size: (width, height) of the clip in pixels.
        sound: whether it has any.
        max_frames: frames at most, spread over the clip.
        min_pixels, max_pixels: of a frame, for Qwen3-VL of all frames together; None: the processor's own.

    Raises:
        ValueError: a clip too short for a token, a picture that is more than 200 times as long as wide, bounds that
            exclude each other.
    """
    rules = rules_of(config)
    audio = 0
    if rules.audio_tokens is not None and sound:
        audio = rules.audio_tokens(round(seconds * SAMPLING_RATE))
        if audio < 1:
            raise ValueError(f"seconds: expected enough for one audio token, got {seconds}")
    if rules.side is None:
        return ClipLengths(audio=audio)
    wanted = min(max(seconds * fps, MIN_FRAMES), max_frames)
    frames = math.floor(wanted) if rules.whole_video else math.floor(wanted / FRAMES_PER_GRID) * FRAMES_PER_GRID
    if frames < FRAMES_PER_GRID:
        raise ValueError(f"max_frames: expected at least {FRAMES_PER_GRID}, got {max_frames}")
    least, most = rules.pixels
    least, most = least if min_pixels is None else min_pixels, most if max_pixels is None else max_pixels
    if min_pixels is None and max_pixels is not None:
        least = min(least, most)  # A bound of one's own goes before the processor's.
    if least > most:
        raise ValueError(f"min_pixels: expected at most max_pixels {most}, got {least}")
    height, width = _resized(rules, size, frames, {"min_pixels": least, "max_pixels": most})
    grids = math.ceil(frames / FRAMES_PER_GRID)
    spacing = seconds * FRAMES_PER_GRID / frames
    stamps = sum(timestamp_tokens((grid + 0.25) * spacing) for grid in range(grids)) if rules.whole_video else 0
    return ClipLengths(grids, height // rules.side, width // rules.side, audio, stamps, spacing)


def _resized(rules: Rules, size: tuple[int, int], frames: int, bounds: dict[str, int]) -> tuple[int, int]:
    """(height, width) in pixels of what the vision tower gets."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as resize_video

    width, height = size
    try:
        if rules.whole_video:
            return resize_video(frames, height, width, FRAMES_PER_GRID, rules.side, **bounds)
        return smart_resize(height, width, rules.side, **bounds)
    except ValueError as error:
        raise ValueError(f"resolution: got {width}x{height}; {error}") from error


def timestamp_tokens(seconds: float) -> int:
    """Tokens of `<12.5 seconds>` and of the marks before and behind a picture: each digit is one of its own."""
    return len(f"<{seconds:.1f}>") + 1 + 2


def prompt_lengths(config: Any, text: int, clip: ClipLengths) -> PromptLengths:
    """Lengths of a prompt with this clip, blocks and windows cut as the adapter cuts them.

    Args:
        config: of a whole model or its thinker.
        text: tokens besides the clip and its timestamps.
    """
    video = split_blocks(clip.video, 2 * clip.per_grid) if clip.video else ()
    audio = split_blocks(clip.audio, audio_block(config))
    runs: list[tuple[int, int]] = []
    if video and audio:
        clip_of = (clip.grids, clip.per_grid, clip.audio)
        thinker = getattr(config, "thinker_config", config)
        if family_name(config) == "qwen2_5_omni":
            runs = chunk_runs(*clip_of, seconds_per_grid=clip.seconds_per_grid, config=thinker)
        else:
            rate = float(thinker.position_id_per_seconds)
            runs = grid_runs(*clip_of, seconds_per_grid=clip.seconds_per_grid, audio_rate=rate)
    items = MediaShape(Modality.VIDEO, clip.grids, clip.height, clip.width), MediaShape(Modality.AUDIO, clip.audio)
    shapes = tuple(item for item in items if item.num_tokens)
    return PromptLengths(text + clip.timestamps, video, audio, windows=tuple(joined(runs)), shapes=shapes)
