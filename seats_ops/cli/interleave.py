"""How a processor interleaves a clip's video with its sound: runs of (video, audio) tokens, video first."""

from __future__ import annotations

import math
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def chunk_runs(
    num_grids: int, tokens_per_grid: int, num_audio: int, *, seconds_per_grid: float, config: PretrainedConfig
) -> list[tuple[int, int]]:
    """Video and audio tokens per chunk of `config.seconds_per_chunk` seconds, video first within a chunk.

    A video token belongs to the chunk its temporal patch begins in, an audio token (one per position, 25 per second)
    to the chunk it sounds in; the last chunk may be short and may lack one modality. As in Qwen2.5-Omni's processor a
    token opens at most one chunk, which shows where temporal patches are further apart than a chunk is long.
    """
    positions_per_chunk = int(config.position_id_per_seconds * config.seconds_per_chunk)
    # Rounded as the model's own positions: a patch that begins right on a chunk's edge is on one side of it for both.
    spacing = torch.tensor(seconds_per_grid, dtype=torch.float32, device="cpu")
    grid = torch.arange(num_grids, dtype=torch.float32, device="cpu")
    starts = (grid * spacing * config.position_id_per_seconds).tolist()
    grids = [start for start in starts for _ in range(tokens_per_grid)]
    video = _chunk_sizes(grids, positions_per_chunk)
    audio = _chunk_sizes([float(position) for position in range(num_audio)], positions_per_chunk)
    return list(zip_longest(video, audio, fillvalue=0))


def _chunk_sizes(positions: list[float], positions_per_chunk: int) -> list[int]:
    """How many of the ascending `positions` fall into each chunk."""
    sizes = [0] if positions else []
    for position in positions:
        if position >= len(sizes) * positions_per_chunk:
            sizes.append(0)
        sizes[-1] += 1
    return sizes


def grid_runs(
    num_grids: int, tokens_per_grid: int, num_audio: int, *, seconds_per_grid: float, audio_rate: float
) -> list[tuple[int, int]]:
    """As Qwen3-Omni: every temporal patch, then the sound until the next one begins; the last takes the rest."""
    starts = [min(num_audio, math.ceil(grid * seconds_per_grid * audio_rate)) for grid in range(num_grids)]
    return [(tokens_per_grid, end - start) for start, end in pairwise([*starts, num_audio])]


def joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs with nothing between them as one: of video after no sound, of sound before no video."""
    found: list[tuple[int, int]] = []
    for video, audio in runs:
        if found and not (video and found[-1][1]):
            before = found.pop()
            video, audio = video + before[0], audio + before[1]
        found.append((video, audio))
    return found
