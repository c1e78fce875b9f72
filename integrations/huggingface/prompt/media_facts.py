"""What stages may know of media beside their modality: where in its item a token stands, and when it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.prompt.media_items import items_of_rows, lengths_of_items
from seats_ops.integrations.huggingface.prompt.time_windows import seconds_of_videos
from seats_ops.integrations.huggingface.prompt.token_layout import MediaTokens
from seats_ops.layout import MediaShape, Modality, TokenLayout

KINDS = (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE)


def with_grid(
    layout: TokenLayout, media: MediaTokens, grids: Mapping[Modality, Tensor], items: Mapping[Modality, Sequence[int]]
) -> TokenLayout:
    """The layout with `grid` and `shapes`; items stand in the order in which their first tokens do.

    A token of a video is (t, h, w) of its merged patches, of a picture (0, h, w), of a sound (t, 0, 0).

    Args:
        layout: of whole prompts, on the CPU.
        media: the family's special tokens.
        grids: integer [items, 3], patches before merging, of videos and pictures.
        items: tokens of every sound, where the encoder said so.

    Raises:
        UnsupportedModelState: videos or pictures without a grid.
        ValueError: the items are not those of the prompts.
    """
    modality, rows = layout.modality.long(), layout.rows()
    found = torch.full((len(layout), 4), -1, dtype=torch.int64, device="cpu")
    starts: list[Tensor] = []
    shapes: list[MediaShape] = []
    for kind in KINDS:
        member = (modality == kind).nonzero().squeeze(1)
        if not len(member):
            continue
        sizes = _shapes(kind, modality, rows, layout.num_rows, media, grids, items)
        size = torch.tensor(sizes, dtype=torch.int64, device="cpu").view(-1, 3)
        counts = size.prod(1)
        first = counts.cumsum(0) - counts
        item = torch.arange(len(sizes), dtype=torch.int64, device="cpu").repeat_interleave(counts)
        place = torch.arange(len(member), dtype=torch.int64, device="cpu") - first[item]
        _, height, width = size[item].unbind(1)
        t, h, w = place // (height * width), place // width % height, place % width
        found[member] = torch.stack([item + len(shapes), t, h, w], 1)
        starts.append(member[first])
        shapes += [MediaShape(kind, *one) for one in sizes]
    if shapes:
        order = torch.cat(starts).argsort()
        inside = found[:, 0] >= 0
        found[inside, 0] = order.argsort()[found[inside, 0]]
        shapes = [shapes[i] for i in order.tolist()]
    return replace(layout, grid=found, shapes=tuple(shapes))


def with_seconds(
    layout: TokenLayout,
    media: MediaTokens,
    grids: Tensor | None,
    seconds_per_grid: list[float],
    items: Mapping[Modality, Sequence[int]],
) -> TokenLayout:
    """The layout with `seconds`, float32: when what a token shows begins, from the start of its video or sound.

    All tokens of a temporal grid have the time of the grid. NaN for pictures and text.

    Args:
        layout: of whole prompts, on the CPU.
        media: the family's special tokens and the rate of its sound.
        grids: integer [videos, 3], patches before merging; None if there are no videos.
        seconds_per_grid: of every encoded video.
        items: tokens of every sound, where the encoder said so.

    Raises:
        ValueError: the items are not those of the prompts, or there is another number of `seconds_per_grid`.
    """
    modality, rows = layout.modality.long(), layout.rows()
    seconds = torch.full((len(layout),), torch.nan, dtype=torch.float32, device="cpu")
    sounds = lengths_of_items(modality, rows, Modality.AUDIO, items)
    pieces = [torch.arange(n, dtype=torch.float64, device="cpu") / media.audio_rate for n in sounds]
    _fill(seconds, modality == Modality.AUDIO, pieces)
    if grids is not None:
        which, shapes = _of_grids(Modality.VIDEO, modality, rows, layout.num_rows, media, grids)
        steps = seconds_of_videos(seconds_per_grid, which)
        pieces = [
            (torch.arange(t, dtype=torch.float64, device="cpu") * step).repeat_interleave(h * w)
            for (t, h, w), step in zip(shapes, steps, strict=True)
        ]
        _fill(seconds, modality == Modality.VIDEO, pieces)
    return replace(layout, seconds=seconds)


def _fill(seconds: Tensor, member: Tensor, pieces: list[Tensor]) -> None:
    if pieces:
        seconds[member] = torch.cat(pieces).float()


def _shapes(
    kind: Modality,
    modality: Tensor,
    rows: Tensor,
    num_rows: int,
    media: MediaTokens,
    grids: Mapping[Modality, Tensor],
    items: Mapping[Modality, Sequence[int]],
) -> list[tuple[int, int, int]]:
    """(t, h, w) of every item of one modality that has tokens."""
    if kind == Modality.AUDIO:
        return [(n, 1, 1) for n in lengths_of_items(modality, rows, kind, items) if n]
    if kind in grids:
        shapes = _of_grids(kind, modality, rows, num_rows, media, grids[kind])[1]
        return [shape for shape in shapes if min(shape)]
    name = kind.name.lower()
    raise UnsupportedModelState(
        f"{name}_grid_thw: expected the grid of every {name} in the prompt for stages that ask for 'grid', got None "
        "(features encoded outside `attach` come without it; see `set_saliency`)"
    )


def _of_grids(
    kind: Modality, modality: Tensor, rows: Tensor, num_rows: int, media: MediaTokens, grids: Tensor
) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Which encoded item each one of the batch is, and its (t, h, w) in tokens."""
    encoded = [(t, h // media.merge, w // media.merge) for t, h, w in grids.tolist()]
    per_row = torch.bincount(rows[modality == kind], minlength=num_rows).tolist()
    try:
        which = items_of_rows(per_row, [t * h * w for t, h, w in encoded])
    except ValueError as error:
        raise ValueError(f"{kind.name.lower()}_grid_thw: {error}") from None
    return which, [encoded[item] for item in which]
