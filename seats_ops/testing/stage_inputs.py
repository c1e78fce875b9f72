"""Small layouts of every kind that a stage may meet, and tensors to go with them."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout
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
    return {
        "one prompt": clip,
        "several prompts": batch,
        "a prompt without video": layout_of_runs([SOUND]),
        "a prompt without audio": layout_of_runs([SILENT]),
        "a prompt of text": layout_of_runs([[(TEXT, 6)]]),
        "a prompt of one text token": layout_of_runs([[(TEXT, 1)]]),
        "single tokens": layout_of_runs([SHORT]),
        "emptied windows": clip.select((clip.window != 0) & (clip.window != 2)),
        "no block and window ids": TokenLayout(batch.modality, batch.position, batch.cu_seqlens),
    }


def tensors_for(layout: TokenLayout, dtype: torch.dtype, dim: int = 16) -> dict[str, Tensor]:
    """Everything that a stage may ask for, on the CPU; `features` in `dtype`."""
    total, random = len(layout), torch.Generator().manual_seed(1)
    return {
        "features": clustered_features(total, dim, seed=0, dtype=dtype),
        "saliency": near_constant_saliency(total, seed=0) * ~layout.is_modality(TEXT),
        "scores": torch.rand(total, generator=random, dtype=torch.float32, device="cpu"),
    }


def layout_of_row(layout: TokenLayout, row: int) -> TokenLayout:
    """One prompt of a batch, alone."""
    start, end = layout.cu_seqlens[row : row + 2].tolist()
    block, window = (None if ids is None else _from_zero(ids[start:end]) for ids in (layout.block, layout.window))
    offsets = torch.tensor([0, end - start], dtype=torch.int32, device="cpu")
    return TokenLayout(layout.modality[start:end], layout.position[start:end], offsets, block, window)


def _from_zero(ids: Tensor) -> Tensor:
    inside = ids[ids >= 0]
    return torch.where(ids >= 0, ids - inside.min(), ids) if len(inside) else ids
