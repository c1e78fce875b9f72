"""Traces of long clips, made up."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from seats_ops import Modality, PruneTrace, TokenLayout
from seats_ops.inspector import Media
from seats_ops.testing import layout_of_runs
from seats_ops.trace.records import MediaItem, StageRecord

AUDIO = 25


def long_trace(seconds: int, tokens_per_second: int) -> PruneTrace:
    """Video of one temporal grid a second, with sound, in chunks of two seconds; random choices at five stages."""
    chunk = [(Modality.VIDEO, 2 * tokens_per_second), (Modality.AUDIO, 2 * AUDIO)]
    runs = [(Modality.TEXT, 20), *chunk * (seconds // 2), (Modality.TEXT, 12)]
    blocks = {Modality.VIDEO: 2 * tokens_per_second, Modality.AUDIO: 2 * AUDIO}
    layout = layout_of_runs([runs], block_length=blocks)
    random, total = torch.Generator().manual_seed(0), len(layout)
    text, (_, windows) = layout.modality == 0, layout.windows()
    keep = text | (torch.rand(total, generator=random) < 0.15)
    stages = [_record("DiversitySelector", 0, keep, layout)]
    for layer, share in ((16, 0.9), (18, 0.8), (20, 0.5)):
        scores = torch.rand(int(keep.sum()), generator=random)
        keep = keep & (text | (torch.rand(total, generator=random) < share))
        budgets = torch.randint(9, (windows, 2), generator=random)
        stages.append(_record("StagePruner", layer, keep, layout, budgets, scores))
    stages.append(_record("ModalityDropper", 23, text, layout))
    height = 5 if tokens_per_second % 5 == 0 else 7
    grid = (seconds, height, tokens_per_second // height)
    return PruneTrace(
        stages,
        [total],
        _counts(layout, torch.ones(total, dtype=torch.bool)),
        [int(text.sum())] * 28,
        layout,
        [
            MediaItem(0, "video", seconds * tokens_per_second, grid, 1.0),
            MediaItem(0, "audio", seconds * AUDIO, None, 1 / AUDIO),
        ],
        torch.rand(total, generator=random),
    )


def long_media(seconds: int) -> Media:
    """Coloured squares that move, and noise."""
    random = np.random.default_rng(0)
    squares = random.integers(0, 255, (9, 16, 3)).astype(np.uint8).repeat(20, 0).repeat(20, 1)
    frames = np.stack([np.roll(squares, second, 1) for second in range(seconds)])
    return Media("made up", [frames], [random.standard_normal((64, 100 * seconds)).astype(np.float32)])


def _record(name: str, layer: int, keep: Tensor, layout: TokenLayout, *rest: Tensor) -> StageRecord:
    columns = layout.position[keep].long()
    return StageRecord(name, layer, [columns], len(columns), _counts(layout, keep), *rest)


def _counts(layout: TokenLayout, keep: Tensor) -> dict[str, int]:
    return {kind.name.lower(): int((layout.modality[keep] == int(kind)).sum()) for kind in Modality}
