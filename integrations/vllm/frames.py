"""A video whose frames stand apart in text that tells their times (Qwen3-VL)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seats_ops.integrations.vllm.clocks import count, grid
from seats_ops.integrations.vllm.units import Unit

FRAME = -1
"""Stands for the tokens of a frame among the ids of the text around them."""


@dataclass(frozen=True)
class TimedFrames(Unit):
    """A video and the text in it, which all stays.

    Attributes:
        text: token ids, with `FRAME` where the tokens of a frame stand.
    """

    text: tuple[int, ...] = ()

    @property
    def spans(self) -> list[int]:
        return [len(part) for _, part in self.runs()]

    def runs(self) -> list[tuple[int, range]]:
        video = self.items[0]
        each = video.height * video.width
        return [(0, range(each * frame, each * (frame + 1))) for frame in range(video.frames)]

    @property
    def text_ids(self) -> list[int]:
        return [token for token in self.text if token != FRAME]

    def written(self, counts: Sequence[int], placeholder: int) -> list[int]:
        """Ids of the prompt with as many placeholders in every frame."""
        left = iter(counts)
        return [each for token in self.text for each in ([placeholder] * next(left) if token == FRAME else [token])]

    def woven(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The text and some of the video's tokens in the order of the prompt.

        Args:
            index: ascending int64 [K] of tokens.

        Returns:
            int64 [S + K], which of (the S tokens of text, those K) stands there, and int64 [3, S + K], its position
            from the unit's begin on.
        """
        places = count(len(self.text))
        frames = torch.tensor(self.text, dtype=torch.int64, device="cpu") == FRAME
        video = self.items[0]
        stands = torch.cat([places[~frames], places[frames][index // (video.height * video.width)]])
        order = stands.argsort(stable=True)
        positions = torch.cat([self._starts()[~frames].expand(3, -1), self.positions()[:, index]], 1)
        return order, positions[:, order]

    @property
    def end(self) -> int:
        video = self.items[0]
        return len(self.text_ids) + max(video.height, video.width) * video.frames

    @property
    def top(self) -> int:
        return self.end

    def _parts(self) -> list[Tensor]:
        video = self.items[0]
        inside = grid(count(1), video.height, video.width)
        starts = [start for start, token in zip(self._starts().tolist(), self.text, strict=True) if token == FRAME]
        return [inside + start for start in starts]

    def _starts(self) -> Tensor:
        """int64: positions of the text, and where frames begin."""
        video = self.items[0]
        steps = [max(video.height, video.width) if token == FRAME else 1 for token in self.text]
        return torch.tensor([0, *steps[:-1]], dtype=torch.int64, device="cpu").cumsum(0)
