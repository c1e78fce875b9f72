"""How families of models count time: positions of media, and who has the turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seats_ops.integrations.encoder_values import sound_positions
from seats_ops.integrations.vllm.items import Item
from seats_ops.integrations.vllm.turns import by_time, take_turns
from seats_ops.layout import Modality


@dataclass(frozen=True)
class Clock:
    """How a family of models counts time.

    Attributes:
        per_second: M-RoPE positions of a second.
        seconds_per_chunk: of a video with its sound, after which the other one takes its turn.
        shared_ends: begin and end of a video's sound share the positions of those of the video.
    """

    per_second: float = 25
    seconds_per_chunk: float = 2
    shared_ends: ClassVar[bool] = True

    @property
    def chunk(self) -> int:
        """Positions of a chunk."""
        return int(self.per_second * self.seconds_per_chunk)

    def positions(self, item: Item) -> Tensor:
        """int64 [3, N] of an item's tokens, from the item's begin on."""
        if item.modality == Modality.AUDIO:
            return count(item.frames).expand(3, -1)
        return grid(self.times(item), item.height, item.width)

    def times(self, item: Item) -> Tensor:
        """int64 [T] of the temporal grids of a video, or the one of a picture."""
        # In float32, as the model's own code multiplies: another order may fall on the other side of a whole number.
        return (count(item.frames) * _float32(item.seconds) * self.per_second).long()

    def sound(self, mel_frames: int) -> Item:
        """A sound of this many mel frames, which two convolutions and a pooling make fewer."""
        return Item(Modality.AUDIO, ((mel_frames - 1) // 2 - 1) // 2 + 1, seconds=1 / 25)

    def turns(self, times: Sequence[Tensor]) -> list[tuple[int, range]]:
        """Runs of items that last at the same time, see `take_turns`."""
        return take_turns(times, self.chunk)

    def after(self, item: Item) -> int:
        """Position at which text goes on behind an item."""
        return int(self.positions(item).max()) + 1 if item.num_tokens else 0


class TokenClock(Clock):
    """Of Qwen3-Omni: a video and its sound stand in the order of their times, token by token."""

    shared_ends = False

    def times(self, item: Item) -> Tensor:
        times = count(item.frames) * _float32(item.seconds) * self.per_second
        if not torch.equal(times, times.round()):
            raise ValueError(
                f"video: expected temporal grids that begin at whole positions, {self.per_second} a second, as engines "
                f"have no others; got grids of {item.seconds:.4g} s"
            )
        return times.long()

    def sound(self, mel_frames: int) -> Item:
        """Three convolutions halve every chunk of mel frames."""
        return Item(Modality.AUDIO, sound_positions(mel_frames, 100, 3), seconds=1 / 13)

    def turns(self, times: Sequence[Tensor]) -> list[tuple[int, range]]:
        return by_time(times)


class GridClock(Clock):
    """Of Qwen2.5-VL: text goes on behind the rows and columns of a video, wherever its time ended."""

    def times(self, item: Item) -> Tensor:
        return (count(item.frames) * (_float32(item.seconds) * self.per_second)).long()

    def after(self, item: Item) -> int:
        return max(item.height, item.width)


def count(n: int) -> Tensor:
    """int64 [n]: 0, 1, ..."""
    return torch.arange(n, dtype=torch.int64, device="cpu")


def grid(times: Tensor, height: int, width: int) -> Tensor:
    """int64 [3, T * height * width] of times [T], rows and columns, in reading order."""
    axes = torch.meshgrid(times, count(height), count(width), indexing="ij")
    return torch.stack([x.flatten() for x in axes])


def _float32(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float32, device="cpu")
