"""How each family writes media into a prompt: the ids of one part, as its processor would expand a placeholder."""

from __future__ import annotations

from typing import Any

import torch

from tests.integrations.huggingface.parts import Audio, Image, Part, Text, Video


def token_id(config: Any, kind: str) -> int | None:
    """The placeholder of "video", "audio" or "image"; None in a family that has no such thing."""
    name = f"{kind}_token_id"
    holders = (config, getattr(config, "audio_config", None), config.vision_config)
    return next((getattr(holder, name) for holder in holders if hasattr(holder, name)), None)


def moving(config: Any) -> str:
    """What goes on in time: "video", or "audio" in a family that sees only pictures."""
    return "audio" if token_id(config, "video") is None else "video"


def audio_tokens(config: Any, mel_frames: int) -> int:
    """Tokens of a sound of `mel_frames` frames of 10 ms."""
    if config.model_type == "phi4_multimodal":
        return -(-mel_frames // 8)
    if config.model_type.startswith("qwen2_5"):
        # Two convolutions' worth of halving: the second pairs positions and drops an odd last one.
        return (mel_frames + 1) // 2 // 2
    # A second is 13 tokens, and what is left over is halved three times, rounding up.
    rest = mel_frames % 100
    for _ in range(3):
        rest = (rest + 1) // 2
    return mel_frames // 100 * 13 + rest


def visual_tokens(config: Any, grid: tuple[int, int, int]) -> int:
    """Tokens of a picture or clip of so many patches before merging."""
    time, height, width = grid
    if config.model_type == "phi4_multimodal":
        # Every row ends in a line break; a separator, and the same of the picture as a single crop.
        side = config.vision_config.crop_size // config.vision_config.patch_size
        height, width, side = (-(-patches // 2) for patches in (height, width, side))
        return height * (width + 1) + 1 + side * (side + 1)
    return time * height * width // config.vision_config.spatial_merge_size**2


def part_tokens(config: Any, part: Part, generator: torch.Generator) -> list[int]:
    """The ids of one part, with the tokens that enclose it."""
    match part:
        case Text(count):
            return _words(count, generator)
        case Audio(mel_frames) if config.model_type == "phi4_multimodal":
            return [config.audio_config.audio_token_id] * audio_tokens(config, mel_frames)
        case Image(grid) if config.model_type == "phi4_multimodal":
            return [config.vision_config.image_token_id] * visual_tokens(config, grid)
        case Audio(mel_frames):
            return _sound(config, [config.audio_token_id] * audio_tokens(config, mel_frames))
        case Image(grid):
            return _picture(config, [config.image_token_id] * visual_tokens(config, grid))
        case Video(grid, _, None) if config.model_type.startswith("qwen3_vl"):
            # Every temporal grid follows its timestamp and is enclosed on its own.
            frame = _picture(config, [config.video_token_id] * visual_tokens(config, (1, *grid[1:])))
            return [token for _ in range(grid[0]) for token in (*_words(3, generator), *frame)]
        case Video(grid, _, None):
            return _picture(config, [config.video_token_id] * visual_tokens(config, grid))
        case Video():
            interleaved = _chunks if config.model_type.startswith("qwen2_5") else _grid_by_grid
            return _picture(config, _sound(config, interleaved(config, part)))


def _words(count: int, generator: torch.Generator) -> list[int]:
    return torch.randint(0, 280, (count,), generator=generator).tolist()


def _picture(config: Any, tokens: list[int]) -> list[int]:
    return [config.vision_start_token_id, *tokens, config.vision_end_token_id]


def _sound(config: Any, tokens: list[int]) -> list[int]:
    return [config.audio_start_token_id, *tokens, config.audio_end_token_id]


def _chunks(config: Any, clip: Video) -> list[int]:
    """Qwen2.5-Omni: chunks of two seconds, pictures before sound, until both run out."""
    per_chunk, rate = config.seconds_per_chunk * config.position_id_per_seconds, config.position_id_per_seconds
    sound = audio_tokens(config, clip.mel_frames or 0)
    frame = visual_tokens(config, (1, *clip.grid[1:]))
    starts = [int(t * clip.seconds_per_grid * rate) for t in range(clip.grid[0])]
    chunks = 1 + max(starts[-1] // per_chunk, (sound - 1) // per_chunk)
    tokens: list[int] = []
    for chunk in range(chunks):
        pictures = sum(chunk * per_chunk <= start < (chunk + 1) * per_chunk for start in starts)
        tokens += [config.video_token_id] * (pictures * frame)
        tokens += [config.audio_token_id] * max(0, min(sound - chunk * per_chunk, per_chunk))
    return tokens


def _grid_by_grid(config: Any, clip: Video) -> list[int]:
    """Qwen3-Omni: every temporal grid at its second, then the sound until the next one."""
    frame, sound = visual_tokens(config, (1, *clip.grid[1:])), audio_tokens(config, clip.mel_frames or 0)
    tokens: list[int] = []
    heard = 0
    for t in range(clip.grid[0]):
        # A grid that starts between two sounds comes after the first of them.
        start = t * clip.seconds_per_grid * config.position_id_per_seconds
        until = max(heard, min(sound, int(-(-start // 1))))
        tokens += [config.audio_token_id] * (until - heard) + [config.video_token_id] * frame
        heard = until
    return tokens + [config.audio_token_id] * (sound - heard)
