"""Stage II windows from adjacency (SEATS section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout


def run_windows(layout: TokenLayout) -> Tensor:
    """Windows from adjacency: int64 [T] ids, -1 outside audio and video (SEATS section 3.2).

    A run is a maximal stretch of neighbouring tokens of one modality; text, an image or the other modality ends it. The
    i-th video run and the i-th audio run of a prompt share window i; surplus runs are windows of one modality. Ids of a
    prompt start after those that its predecessors could use at most, so that they ascend over rows without a read.
    """
    rows = layout.rows()
    total = len(layout)
    window = torch.full((total,), -1, dtype=torch.int64, device=layout.modality.device)
    if total == 0:
        return window
    starts_run = torch.ones(total, dtype=torch.bool, device=window.device)
    starts_run[1:] = (layout.modality[1:] != layout.modality[:-1]) | (rows[1:] != rows[:-1])
    ordinals, runs_per_row = {}, []
    for modality in (Modality.VIDEO, Modality.AUDIO):
        running = (starts_run & layout.is_modality(modality)).cumsum(0)
        before = torch.nn.functional.pad(running, (1, 0))[layout.cu_seqlens.long()]
        ordinals[modality] = running - 1 - before[:-1][rows]
        runs_per_row.append(before[1:] - before[:-1])
    windows_per_row = torch.maximum(*runs_per_row)
    first_id = torch.nn.functional.pad(windows_per_row.cumsum(0), (1, 0))[:-1]
    for modality, ordinal in ordinals.items():
        window = torch.where(layout.is_modality(modality), ordinal + first_id[rows], window)
    return window
