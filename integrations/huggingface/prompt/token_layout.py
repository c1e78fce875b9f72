"""Input ids and grids -> TokenLayout: the only place that knows special tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from seats_ops.cost.prompt_lengths import split_blocks
from seats_ops.integrations.huggingface.prompt.media_items import items_of_rows, lengths_of_items
from seats_ops.integrations.huggingface.prompt.time_windows import seconds_of_videos, time_windows
from seats_ops.layout import Modality, TokenLayout
from seats_ops.layout.windows import run_windows
from seats_ops.validation import check_integers, describe


@dataclass(frozen=True)
class MediaTokens:
    """How a model family writes media into a prompt.

    Attributes:
        video_id, audio_id, image_id: placeholder token ids.
        merge: spatial merge size, so that a grid of H x W patches is H * W / merge**2 tokens.
        grids_per_block: temporal grids in one Stage I video block (SEATS section 3.1: 2).
        audio_block: tokens in one Stage I audio block (SEATS section 3.1: 2 s at 25 tokens per second = 50).
        audio_rate: audio tokens per second.
    """

    video_id: int
    audio_id: int
    image_id: int
    merge: int = 2
    grids_per_block: int = 2
    audio_block: int = 50
    audio_rate: float = 25.0

    @classmethod
    def from_config(cls, config: Any, **overrides: Any) -> MediaTokens:
        """From the config of a thinker; no token has the id -1 of a modality that the family lacks."""

        def token(name: str, tower: str) -> int:
            # Phi-4 keeps the ids in the configs of its towers.
            return int(getattr(config, name, getattr(getattr(config, tower, None), name, -1)))

        return cls(
            video_id=token("video_token_id", "vision_config"),
            audio_id=token("audio_token_id", "audio_config"),
            image_id=token("image_token_id", "vision_config"),
            merge=getattr(config.vision_config, "spatial_merge_size", 2),
            **overrides,
        )

    def is_text(self, input_ids: Tensor) -> Tensor:
        """Bool, in the shape of `input_ids`: no placeholder."""
        ids = [self.video_id, self.audio_id, self.image_id]
        return ~torch.isin(input_ids, torch.tensor(ids, dtype=torch.int64, device=input_ids.device))


def build_token_layout(
    input_ids: Tensor,
    media: MediaTokens,
    *,
    video_grid_thw: Tensor | None = None,
    attention_mask: Tensor | None = None,
    seconds_per_grid: list[float] | None = None,
    items: Mapping[Modality, Sequence[int]] = MappingProxyType({}),
) -> TokenLayout:
    """Lay out the tokens of a batch of prompts, given on the CPU.

    Blocks (Stage I) are consecutive tokens of one modality in order of appearance; they never cross a video or audio
    item. Each video uses its own grid; an audio (or image) item ends where text stands between its tokens, unless
    `items` says how long each one is. Images are one block each. Windows (Stage II) pair the i-th run of video with the
    i-th run of audio; or, with `seconds_per_grid`, slices of two seconds of the i-th video and the i-th audio of a
    prompt.

    Args:
        input_ids: integer [B, S].
        media: the family's special tokens.
        video_grid_thw: integer [videos, 3] patches before merging, in order of appearance. Without it video tokens have
            no block. Where every prompt stands there several times in a row, the videos of one copy are enough.
        attention_mask: [B, S], 0 at padding, which is not part of the layout; None means no padding.
        seconds_per_grid: per video, how long a temporal grid lasts; asks for windows by time.
        items: tokens of every audio and every image, in order of appearance.

    Returns:
        TokenLayout on the CPU, with `blocks` and `num_windows`.

    Raises:
        TypeError, ValueError: shapes do not fit, or the video tokens of a prompt are not those of whole grids.
    """
    check_integers("input_ids", input_ids, 2)
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    if mask.shape != input_ids.shape:
        raise ValueError(f"attention_mask: expected shape {list(input_ids.shape)} as input_ids, got {describe(mask)}")
    grids = video_grid_thw
    if grids is not None and check_integers("video_grid_thw", grids, 2).shape[1] != 3:
        raise ValueError(f"video_grid_thw: expected [videos, 3], got {describe(grids)}")
    ids, mask = input_ids.long(), mask != 0
    rows, position = mask.nonzero().unbind(1)
    ids = ids[rows, position]
    modality = torch.zeros_like(ids)
    for kind, token in (
        (Modality.VIDEO, media.video_id),
        (Modality.AUDIO, media.audio_id),
        (Modality.IMAGE, media.image_id),
    ):
        modality[ids == token] = int(kind)
    cu_seqlens = torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0))

    block = torch.full_like(ids, -1)
    blocks: list[tuple[int, int]] = []
    videos, video_tokens = _videos(modality, rows, grids, media, len(mask))
    sounds, images = (lengths_of_items(modality, rows, kind, items) for kind in (Modality.AUDIO, Modality.IMAGE))
    for kind, lengths in (
        (Modality.VIDEO, None if grids is None else _video_blocks(video_tokens, media)),
        (Modality.AUDIO, [n for sound in sounds for n in split_blocks(sound, media.audio_block)]),
        (Modality.IMAGE, images),
    ):
        if lengths is not None:
            numbers = torch.arange(len(lengths), dtype=torch.int64, device="cpu") + len(blocks)
            counts = torch.tensor(lengths, dtype=torch.int64, device="cpu")
            block[modality == kind] = numbers.repeat_interleave(counts)
            blocks += [(int(kind), n) for n in lengths]
    if seconds_per_grid is None:
        window = run_windows(TokenLayout(modality, position, cu_seqlens.int()))
    else:
        seconds = seconds_of_videos(seconds_per_grid, videos)
        window = time_windows(modality, rows, video_tokens, seconds, sounds, media.audio_rate)
    num_windows = int(window.max()) + 1 if len(window) else 0
    return TokenLayout(modality, position, cu_seqlens.int(), block, window, tuple(blocks), num_windows)


def _videos(
    modality: Tensor, rows: Tensor, grids: Tensor | None, media: MediaTokens, num_rows: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """Which encoded video each one of the batch is, and its (tokens, tokens per temporal grid)."""
    if grids is None:
        return [], []
    per_row = torch.bincount(rows[modality == Modality.VIDEO], minlength=num_rows).tolist()
    encoded = [(t * h * w // media.merge**2, h * w // media.merge**2) for t, h, w in grids.tolist()]
    try:
        videos = items_of_rows(per_row, [total for total, _ in encoded])
    except ValueError as error:
        raise ValueError(f"video_grid_thw: {error}") from None
    return videos, [encoded[video] for video in videos]


def _video_blocks(video_tokens: list[tuple[int, int]], media: MediaTokens) -> list[int]:
    """Tokens per video block."""
    return [n for total, per_grid in video_tokens for n in split_blocks(total, media.grids_per_block * per_grid)]
