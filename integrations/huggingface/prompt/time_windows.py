"""Stage II windows by the clock, for prompts whose sound and picture are not interleaved."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.layout import Modality

SLICE_SECONDS = 2


def time_windows(
    modality: Tensor,
    rows: Tensor,
    video_tokens: list[tuple[int, int]],
    seconds_per_grid: list[float],
    audio: list[int],
    audio_rate: float,
) -> Tensor:
    """Windows of two seconds, the chunks in which Qwen2.5-Omni interleaves sound and picture.

    A clip is the i-th video and the i-th audio of a prompt. All tokens of a temporal grid have the time of the grid.

    Args:
        modality: int64 [T] on the CPU.
        rows: int64 [T], prompt of every token.
        video_tokens: (tokens, tokens per temporal grid) of every video of the batch.
        seconds_per_grid: per video of the batch.
        audio: tokens of every audio of the batch.
        audio_rate: audio tokens per second.

    Returns:
        int64 [T] window ids, ascending over prompts, -1 outside audio and video.
    """
    per_grid = [tokens for _, tokens in video_tokens]
    window = torch.full_like(modality, -1)
    members, slices = [], []
    for kind, lengths, at_once, seconds_each in (
        (Modality.VIDEO, [total for total, _ in video_tokens], per_grid, seconds_per_grid),
        (Modality.AUDIO, audio, [1] * len(audio), [1 / audio_rate] * len(audio)),
    ):
        member = (modality == kind).nonzero().squeeze(1)
        counts, ticks = (torch.tensor(n, dtype=torch.int64, device="cpu") for n in (lengths, at_once))
        seconds = torch.tensor(seconds_each, dtype=torch.float64, device="cpu")
        first = counts.cumsum(0) - counts
        item = torch.arange(len(lengths), dtype=torch.int64, device="cpu").repeat_interleave(counts)
        row = rows[member]
        clip = item - torch.searchsorted(row[first], row)
        place = torch.arange(len(member), dtype=torch.int64, device="cpu") - first[item]
        tick = place // ticks[item]
        # Rounded, so that the 26th token of 13 a second starts a new slice.
        slice_ = (tick * seconds[item] / SLICE_SECONDS).round(decimals=6)
        members.append(member)
        slices.append(torch.stack([row, clip, slice_.floor().long()], 1))
    window[torch.cat(members)] = torch.unique(torch.cat(slices), dim=0, return_inverse=True)[1]
    return window


def seconds_of_videos(given: list[float], videos: list[int]) -> list[float]:
    """Seconds per grid for every video of a batch.

    Args:
        given: per encoded video. Where prompts were copied it may have been copied too, entry by entry, while videos
            come prompt by prompt.
        videos: which encoded video each one of the batch is.

    Raises:
        ValueError: another number of them.
    """
    encoded = max(videos, default=-1) + 1
    if encoded and len(given) == len(videos) > encoded:
        given = given[:: len(videos) // encoded]
    if len(given) != encoded:
        raise ValueError(f"seconds_per_grid: expected one for each of {encoded} videos, got {len(given)}")
    return [given[video] for video in videos]
