"""What a trace says of the videos, sounds and pictures of a batch: worked out on the host, from what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from seats_ops.integrations.huggingface.prompt.media_items import items_of_rows, lengths_of_items
from seats_ops.integrations.huggingface.prompt.time_windows import seconds_of_videos
from seats_ops.integrations.huggingface.prompt.token_layout import MediaTokens
from seats_ops.layout import Modality, TokenLayout
from seats_ops.trace.records import MediaItem


def recorded_items(
    layout: TokenLayout,
    media: MediaTokens,
    grids: Mapping[Modality, Tensor],
    seconds_per_grid: list[float] | None,
    lengths: Mapping[Modality, Sequence[int]],
) -> list[MediaItem]:
    """Videos, sounds, pictures, each in order of appearance. Videos whose grids nobody knows are left out.

    Args:
        layout: of the prompts, on the CPU.
        grids: int64 [items, 3], patches before merging, of videos and pictures where they are known.
        seconds_per_grid: of every encoded video.
        lengths: tokens of every sound and every picture, where the encoder said so.
    """
    rows, found = layout.rows(), []
    for kind in (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE):
        member = rows[layout.modality == kind]
        if not len(member):
            continue
        shapes: list[tuple[int, int, int] | None]
        seconds: Sequence[float | None]
        if kind in grids:
            shape = [(t, h // media.merge, w // media.merge) for t, h, w in grids[kind].tolist()]
            per_row = torch.bincount(member, minlength=layout.num_rows).tolist()
            which = items_of_rows(per_row, [t * h * w for t, h, w in shape])
            shapes = [shape[item] for item in which]
            sizes = [t * h * w for t, h, w in (shape[item] for item in which)]
            known = kind == Modality.VIDEO and seconds_per_grid is not None
            seconds = seconds_of_videos(seconds_per_grid or [], which) if known else [None] * len(which)
        elif kind == Modality.VIDEO:
            continue
        else:
            sizes = lengths_of_items(layout.modality.long(), rows, kind, lengths)
            shapes = [None] * len(sizes)
            seconds = [1 / media.audio_rate if kind == Modality.AUDIO else None] * len(sizes)
        first = 0
        for size, grid, step in zip(sizes, shapes, seconds, strict=True):
            found.append(MediaItem(int(member[first]), kind.name.lower(), size, grid, step))
            first += size
    return found
