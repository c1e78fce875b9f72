"""2-D average pooling of frames: the baseline that merges without looking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout
from seats_ops.methods import own_work
from seats_ops.methods.arguments import of_video
from seats_ops.methods.method import Protocol, register_method
from seats_ops.operators.items import found_shapes
from seats_ops.operators.selection import Merge, Selection
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stored import Stored
from seats_ops.ops.segment_topk.api import segment_topk
from seats_ops.schedule import Schedule
from seats_ops.validation import check_int, describe

PROTOCOL = Protocol(
    ratio="share that enters the LLM, 1 / (a b) for cells of a x b; a number is for video",
    group="frame",
    score="none",
    rounding="cells at the right and lower border are smaller",
    minimum="one token a cell",
    ties="-",
    merge="mean of a cell",
    row_sum="1",
    positions="kept, of the cell's centre, the upper left one of several",
    audio="stays",
)


@dataclass(frozen=True)
class AveragePool(Stored):
    """Makes one token of every a x b cell of a frame or a picture: the mean, at the place of the centre.

    Of a cell that was thinned before, the tokens left are averaged, at the place of the one nearest to the centre.

    Attributes:
        height, width: of a cell, from the upper left corner of a grid on.
        modality: "video" or "image".
    """

    inputs: ClassVar[tuple[str, ...]] = ("features", "grid")
    merges: ClassVar[bool] = True
    count_kind: ClassVar[str] = "shape"
    own_macs = own_work.cells

    height: int
    width: int
    modality: str = field(default="video", kw_only=True)

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            check_int(name, getattr(self, name), 1)
        if self.modality not in ("video", "image"):
            raise ValueError(f"modality: expected video or image, which have frames, got {self.modality!r}")

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Selection:
        """Features [T, D] tell the device alone; the merge is of [T, D]."""
        plan = layout.plan()
        if plan.grid is None or plan.shapes is None:
            raise ValueError("layout: expected one with grid and shapes, got None")
        inside = plan.is_modality(Modality[self.modality.upper()]).nonzero().squeeze(1)
        item, t, h, w = plan.grid[inside].long().unbind(1)
        sizes = torch.tensor([shape[2:] for shape in plan.shapes], dtype=torch.int64, device="cpu").view(-1, 2)
        up, left = h // self.height * self.height, w // self.width * self.width
        down = torch.minimum(up + self.height, sizes[item, 0]) - 1
        right = torch.minimum(left + self.width, sizes[item, 1]) - 1
        keys = torch.stack([item, t, up, left], 1)
        _, cell, members = keys.unique(dim=0, return_inverse=True, return_counts=True)
        away = (h - (up + down) // 2).abs() + (w - (left + right) // 2).abs()
        centre = segment_topk(-away.float(), cell, torch.ones_like(members), backend="reference")
        keep_mask = torch.ones(len(plan), dtype=torch.bool, device="cpu").index_copy(0, inside, centre)
        at = torch.zeros_like(members).scatter(0, cell[centre], inside[centre])
        merge = Merge(at[cell], inside, 1.0 / members[cell].float())
        device = features.device
        return Selection(keep_mask.to(device), merge=Merge(*(part.to(device) for part in merge)))

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`; needs `found.shapes`."""
        mine = found_shapes(type(self).__name__, found, Modality[self.modality.upper()])
        return {**found, self.modality: sum(s.t * -(-s.h // self.height) * -(-s.w // self.width) for s in mine)}


@register_method("pooled", PROTOCOL, "baseline, as VTC-Bench and UniPruneBench (Pool_PreLLM) ask for")
def pooled(config: object, ratio: KeepRatio, *, cell: Sequence[int] | None = None) -> Schedule:
    """The mean of every a x b cell.

    Args:
        config: not looked at.
        ratio: 1 / (a b), give or take 1.5 % of it; a mapping for video and image.
        cell: (a, b), rows and columns of a cell; None: the squarest one, no higher than wide.

    Raises:
        TypeError: a cell that is no sequence. ValueError: one that is not two ints from 1, a ratio that no cell, or not
            this one, leaves.
    """
    stages = []
    for name, share in of_video(ratio).items():
        size = round(1 / share) if share > 0 else 0
        a = max((n for n in range(1, math.isqrt(size) + 1) if size % n == 0), default=0)
        sides = (a, size // a if a else 0) if cell is None else _sides(cell)
        if name not in ("video", "image") or sides[0] * sides[1] != size or abs(share * size - 1) > 0.015:
            raise ValueError(f"ratio: expected 1 / (a b) of video or image, for cells of a x b, got {share} of {name}")
        stages.append(AveragePool(*sides, modality=name))
    return Schedule(stages)


def _sides(cell: Sequence[int]) -> tuple[int, int]:
    if not isinstance(cell, Sequence):
        raise TypeError(f"cell: expected two ints, got {describe(cell)}")
    if len(cell) != 2 or not all(type(side) is int and side > 0 for side in cell):
        raise ValueError(f"cell: expected two ints from 1, got {describe(cell)}")
    return cell[0], cell[1]
