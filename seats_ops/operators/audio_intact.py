"""How SEATS compares with methods for video alone: audio stays whole while the video can give what both are to lose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seats_ops.layout import Modality, TokenLayout, group_tokens
from seats_ops.operators.own_work import nothing
from seats_ops.operators.select import Budgeted
from seats_ops.operators.stage import BUDGETED, num_kept
from seats_ops.operators.stored import Stored

LEAST_VIDEO = 0.05
"""Share of the video that keeping the audio whole leaves at least."""


@dataclass(frozen=True)
class AudioOrder(Stored):
    """Relevance of video, and a random order for audio, to be taken from its start."""

    inputs: ClassVar[tuple[str, ...]] = ("scores", "generators")
    is_scorer: ClassVar[bool] = True
    own_macs = nothing

    def __call__(
        self, scores: Tensor, layout: TokenLayout, *, generators: tuple[torch.Generator, ...], backend: str = "auto"
    ) -> Tensor:
        """float32 [T]."""
        ranked = scores.float().clone()
        groups = group_tokens(layout, "modality", [Modality.AUDIO])
        index, _ = groups.packed()
        for row, mine in zip(groups.row.tolist(), index.split(groups.lengths.tolist()), strict=True):
            drawn = torch.randperm(len(mine), generator=generators[row], dtype=torch.int64, device="cpu")
            places = -torch.arange(len(mine), dtype=torch.float32, device="cpu")
            ranked[mine[drawn].to(ranked.device)] = places.to(ranked.device)
        return ranked


@dataclass(frozen=True)
class AudioIntact(Stored):
    """As many tokens of both modalities as two shares ask for, averaged over layers, taken from the video first.

    T = int(video * V + audio * A) tokens of a prompt's V and A: the video's share is (T - A) / V; one below 5 % becomes
    5 %, and the audio's is what that leaves. Both are at most 1. A prompt without audio or video has the shares given.

    Attributes:
        video, audio: shares averaged over layers.
        layer: after which tokens go.
        num_layers: of the decoder.
    """

    own_macs = nothing

    video: float
    audio: float
    layer: int
    num_layers: int

    def shares(self, num_video: int, num_audio: int) -> tuple[float, float]:
        """(video, audio) averaged over layers, of one prompt."""
        if not num_video or not num_audio:
            return self.video, self.audio
        total = int(num_video * self.video + num_audio * self.audio)
        video, audio = (total - num_audio) / num_video, 1.0
        if video < LEAST_VIDEO:
            video, audio = LEAST_VIDEO, (total - LEAST_VIDEO * num_video) / num_audio
        return min(video, 1.0), min(audio, 1.0)

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """See `Stage`. A share that not even nothing after the layer reaches leaves one token."""
        left = dict(found)
        for name, share in zip(BUDGETED, self.shares(found["video"], found["audio"]), strict=True):
            later = (share * self.num_layers - self.layer) / (self.num_layers - self.layer)
            left[name] = num_kept(found[name], later)
        return left

    def __call__(self, scores: Tensor | None, layout: TokenLayout, *, backend: str = "auto") -> Budgeted:
        """Groups of video and audio; nothing is read from the device."""
        groups = group_tokens(layout, "modality", [Modality.VIDEO, Modality.AUDIO])
        names = [Modality(kind).name.lower() for kind in groups.modality.tolist()]
        found = [dict.fromkeys(BUDGETED, 0) for _ in range(layout.num_rows)]
        for row, name, length in zip(groups.row.tolist(), names, groups.lengths.tolist(), strict=True):
            found[row][name] = length
        left = [self.count_tokens(counts) for counts in found]
        budgets = [left[row][name] for row, name in zip(groups.row.tolist(), names, strict=True)]
        return Budgeted(groups, torch.tensor(budgets, dtype=torch.int64, device="cpu"))
