"""Small layouts of every kind that a stage may meet, and tensors to go with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from seats_ops.layout import MediaShape, Modality, TokenLayout
from seats_ops.operators.inputs import Input, parse_input
from seats_ops.operators.stage import generators_of
from seats_ops.testing.data import clustered_features, layout_of_runs, near_constant_saliency

INPUT_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TEXT, VIDEO, AUDIO, IMAGE = Modality.TEXT, Modality.VIDEO, Modality.AUDIO, Modality.IMAGE
CLIP = [(TEXT, 3), *[(VIDEO, 14), (AUDIO, 6)] * 4, (IMAGE, 7), (TEXT, 4)]
SOUND = [(TEXT, 2), (AUDIO, 30), (TEXT, 5)]
SILENT = [(TEXT, 2), *[(VIDEO, 9), (TEXT, 1)] * 3, (TEXT, 3)]
SHORT = [(TEXT, 1), (VIDEO, 1), (AUDIO, 1), (IMAGE, 1), (TEXT, 1)]


def fixed_layouts() -> dict[str, TokenLayout]:
    """Every prompt ends in text, its query; by what is special about it."""
    clip, batch = layout_of_runs([CLIP]), layout_of_runs([SILENT, CLIP, [(TEXT, 6)], SOUND, SHORT])
    assert clip.window is not None
    emptied = with_facts(clip).select((clip.window != 0) & (clip.window != 2))
    plain = TokenLayout(batch.modality, batch.position, batch.cu_seqlens)
    made = {
        "one prompt": clip,
        "several prompts": batch,
        "a prompt without video": layout_of_runs([SOUND]),
        "a prompt without audio": layout_of_runs([SILENT]),
        "a prompt of text": layout_of_runs([[(TEXT, 6)]]),
        "a prompt of one text token": layout_of_runs([[(TEXT, 1)]]),
        "single tokens": layout_of_runs([SHORT]),
    }
    thinned = {"emptied windows": emptied, "no block and window ids": with_facts(plain)}
    return {title: with_facts(layout) for title, layout in made.items()} | thinned


def with_facts(layout: TokenLayout) -> TokenLayout:
    """The same with `grid`, `seconds` and `question`: every run of media is an item, of two frames where that goes."""
    kinds, rows = layout.modality.tolist(), layout.rows().tolist()
    grid, seconds, start = [[-1] * 4 for _ in kinds], [float("nan")] * len(kinds), 0
    shapes: list[MediaShape] = []
    for token in range(1, len(kinds) + 1):
        if token < len(kinds) and (kinds[token], rows[token]) == (kinds[start], rows[start]):
            continue
        kind, n = Modality(kinds[start]), token - start
        frames = n if kind == AUDIO else 2 if kind == VIDEO and n % 2 == 0 else 1
        if kind != TEXT:
            for i in range(n):
                t, w = divmod(i, n // frames)
                grid[start + i] = [len(shapes), t, 0, w]
                seconds[start + i] = float("nan") if kind == IMAGE else float(t)
            shapes.append(MediaShape(kind, frames, 1, n // frames))
        start = token
    last_media = {row: i for i, (kind, row) in enumerate(zip(kinds, rows, strict=True)) if kind != TEXT}
    asks = [kind == TEXT and i > last_media.get(row, -1) for i, (kind, row) in enumerate(zip(kinds, rows, strict=True))]
    return replace(
        layout,
        grid=torch.tensor(grid, dtype=torch.int64, device="cpu").view(-1, 4),
        shapes=tuple(shapes),
        seconds=torch.tensor(seconds, dtype=torch.float32, device="cpu"),
        question=torch.tensor(asks, dtype=torch.bool, device="cpu"),
    )


def tensors_for(
    layout: TokenLayout, dtype: torch.dtype, dim: int = 16, inputs: Iterable[str] = ("features", "saliency", "scores")
) -> dict[str, Any]:
    """What a stage asks for, by full name, on the CPU; features and states in `dtype`.

    Generators are left out: every call is given its own, see `generators_for`.
    """
    return {item.name: _tensor_for(item, layout, dtype, dim) for item in map(parse_input, inputs) if _is_made(item)}


def _is_made(item: Input) -> bool:
    return not item.is_fact and item.kind != "generators"


def _tensor_for(item: Input, layout: TokenLayout, dtype: torch.dtype, dim: int) -> Tensor:
    total, places = len(layout), {"features": 0, "previous": 2, "embeddings": 3}
    media = ~layout.is_modality(TEXT)
    seed = sum(item.name.encode())
    random = torch.Generator().manual_seed(1 if item.name == "scores" else seed)
    if item.kind in places:
        return clustered_features(total, dim, seed=places[item.kind], dtype=dtype)
    if item.kind == "saliency":
        return near_constant_saliency(total, seed=0 if item.name == "saliency" else seed) * media
    if item.kind == "keys":
        return clustered_features(total, 8, seed=4) * media[:, None]
    if item.kind == "kept":
        return torch.ones(total, dtype=torch.bool, device="cpu")
    if item.kind == "counts":
        return layout.counts()
    return torch.rand(total, generator=random, dtype=torch.float32, device="cpu")


def generators_for(stage: Any, layout: TokenLayout) -> dict[str, Any]:
    """The generators of a call, for a stage that asks for them."""
    return {"generators": generators_of(stage, layout.num_rows)} if "generators" in stage.inputs else {}


def layout_of_row(layout: TokenLayout, row: int) -> TokenLayout:
    """One prompt of a batch, alone."""
    start, end = layout.cu_seqlens[row : row + 2].tolist()
    part = slice(start, end)
    block, window = (None if ids is None else _from_zero(ids[part]) for ids in (layout.block, layout.window))
    offsets = torch.tensor([0, end - start], dtype=torch.int32, device="cpu")
    facts: dict[str, Any] = {
        name: value[part] for name in ("seconds", "question") if (value := getattr(layout, name)) is not None
    }
    if layout.grid is not None and layout.shapes is not None:
        grid = layout.grid[part].clone()
        items = grid[:, 0][grid[:, 0] >= 0].unique()
        grid[:, 0] = torch.where(grid[:, 0] >= 0, torch.searchsorted(items, grid[:, 0].contiguous()), -1)
        facts |= {"grid": grid, "shapes": tuple(layout.shapes[i] for i in items.tolist())}
    return TokenLayout(layout.modality[part], layout.position[part], offsets, block, window, **facts)


def _from_zero(ids: Tensor) -> Tensor:
    inside = ids[ids >= 0]
    return torch.where(ids >= 0, ids - inside.min(), ids) if len(inside) else ids
