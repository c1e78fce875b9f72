"""segment_topk: the best tokens of every window and modality."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.drop_inputs import pruned_layout
from benchmarks.entry import OURS, Entry, Size, randn
from seats_ops import Modality
from seats_ops import functional as F


def entries(size: Size, device: torch.device) -> Iterator[Entry]:
    layout = pruned_layout(size, device)
    window, num_windows = layout.windows()
    segment = torch.where(window >= 0, 2 * window + (layout.modality == Modality.AUDIO), -1)
    scores = randn(len(layout), device=device, seed=size.seed, dtype=torch.float32)
    counts = torch.bincount(segment[segment >= 0], minlength=2 * num_windows)
    budget = counts // 2

    def loop() -> Tensor:
        keep = segment < 0
        for i, wanted in enumerate(budget.tolist()):
            members = (segment == i).nonzero().squeeze(1)
            keep[members[scores[members].topk(wanted).indices]] = True
        return keep

    def sort() -> Tensor:
        by_score = scores.argsort(descending=True, stable=True)
        order = by_score[segment[by_score].argsort(stable=True)]
        members = order[int((segment < 0).sum()) :]
        of = segment[members]
        rank = torch.arange(len(members), device=device) - (counts.cumsum(0) - counts)[of]
        return (segment < 0).index_put((members,), rank < budget[of])

    yield Entry(
        "segment_topk/drop",
        {OURS: lambda: F.segment_topk(scores, segment, budget), "topk per segment": loop, "two argsorts": sort},
        flops=len(layout),
        num_bytes=13 * len(layout),
        tests=("tests/ops/test_segment_topk.py",),
    )
