"""Media of a request, from lengths alone: where the tokens of an item stand, and their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seats_ops.cost.prompt_lengths import split_blocks
from seats_ops.layout import MediaShape, Modality

GRIDS_PER_BLOCK = 2
AUDIO_BLOCK = 50
AUDIO_RATE = 25.0


@dataclass(frozen=True)
class Item:
    """One video, sound or picture, in tokens after merging.

    Attributes:
        modality: of its tokens.
        frames, height, width: temporal grids, rows, columns; a sound is (tokens, 1, 1).
        seconds: how long a temporal grid or a token of sound lasts; 0 of a picture.
    """

    modality: Modality
    frames: int
    height: int = 1
    width: int = 1
    seconds: float = 0.0

    @classmethod
    def sound(cls, mel_frames: int) -> Item:
        """A sound of this many mel frames, which two convolutions and a pooling make fewer."""
        return cls(Modality.AUDIO, ((mel_frames - 1) // 2 - 1) // 2 + 1, seconds=1 / AUDIO_RATE)

    @property
    def shape(self) -> MediaShape:
        return MediaShape(self.modality, self.frames, self.height, self.width)

    @property
    def num_tokens(self) -> int:
        return self.frames * self.height * self.width

    def blocks(self) -> tuple[int, ...]:
        """Lengths of its Stage I blocks (SEATS section 3.1)."""
        if self.modality == Modality.IMAGE:
            return (self.num_tokens,) if self.num_tokens else ()
        at_once = AUDIO_BLOCK if self.modality == Modality.AUDIO else GRIDS_PER_BLOCK * self.height * self.width
        return split_blocks(self.num_tokens, at_once) if at_once else ()

    def cut(self, num_tokens: int) -> Item:
        """Its first whole frames that hold this many tokens."""
        frames = num_tokens // max(self.height * self.width, 1)
        return Item(self.modality, frames, self.height, self.width, self.seconds)


@dataclass(frozen=True)
class Clock:
    """How a family of models counts time.

    Attributes:
        per_second: M-RoPE positions of a second.
        seconds_per_chunk: of a video with its sound, after which the other one takes its turn.
    """

    per_second: float = 25
    seconds_per_chunk: float = 2

    @property
    def chunk(self) -> int:
        """Positions of a chunk."""
        return int(self.per_second * self.seconds_per_chunk)

    def positions(self, item: Item) -> Tensor:
        """int64 [3, N] of an item's tokens, from the item's begin on."""
        if item.modality == Modality.AUDIO:
            return _count(item.frames).expand(3, -1)
        # In float32, as the model's own code multiplies: another order may fall on the other side of a whole number.
        seconds = torch.tensor(item.seconds, dtype=torch.float32, device="cpu")
        time = (_count(item.frames) * seconds * self.per_second).long()
        return torch.stack([x.flatten() for x in torch.meshgrid(time, *map(_count, item.shape[2:]), indexing="ij")])


@dataclass(frozen=True)
class Unit:
    """What one placeholder of a prompt stands for: an item, or a video and its sound, which take turns.

    Attributes:
        items: one, or (video, sound).
        clock: of the family.
    """

    items: tuple[Item, ...]
    clock: Clock = Clock()

    @property
    def num_tokens(self) -> int:
        return sum(item.num_tokens for item in self.items)

    def runs(self) -> list[tuple[int, range]]:
        """(index of the item, its tokens) in the order of the prompt."""
        if len(self.items) == 1:
            return [(0, range(self.items[0].num_tokens))]
        # In float64, as the processor writes the prompt.
        times = [_count(item.frames).double() * item.seconds * self.clock.per_second for item in self.items[:1]]
        return _take_turns([self._per_token(times[0]), _count(self.items[1].frames)], self.clock.chunk)

    def columns(self) -> list[Tensor]:
        """int64 [N] of every item: which of the unit's tokens each of its own is."""
        found = [torch.empty(item.num_tokens, dtype=torch.int64, device="cpu") for item in self.items]
        start = 0
        for index, part in self.runs():
            found[index][part.start : part.stop] = torch.arange(
                start, start + len(part), dtype=torch.int64, device="cpu"
            )
            start += len(part)
        return found

    def positions(self) -> Tensor:
        """int64 [3, N] of the unit's tokens, from its begin on."""
        return self._positions_and_end()[0]

    @property
    def end(self) -> int:
        """Position at which the text after it goes on: behind the last run, whatever earlier ones have."""
        return self._positions_and_end()[1]

    def _positions_and_end(self) -> tuple[Tensor, int]:
        each = [self.clock.positions(item) for item in self.items]
        runs = [(0, range(self.num_tokens))]
        if len(each) > 1:
            # The model cuts by whole positions, and numbers the columns that the processor wrote with what it gets.
            runs = _take_turns([x[0] for x in each], self.clock.chunk)
        parts = [each[index][:, part.start : part.stop] for index, part in runs if len(part)]
        if not parts:
            return torch.empty(3, 0, dtype=torch.int64, device="cpu"), 0
        return torch.cat(parts, 1), int(parts[-1].max()) + 1

    def _per_token(self, times: Tensor) -> Tensor:
        video = self.items[0]
        return times.repeat_interleave(video.height * video.width)


def _count(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.int64, device="cpu")


def _take_turns(times: Sequence[Tensor], chunk: int) -> list[tuple[int, range]]:
    """Runs of several items by time: the i-th chunk of the first, the i-th chunk of the second, and so on."""
    parts: list[list[range]] = []
    for moments in times:
        cuts: list[range] = []
        start = 0
        for index, time in enumerate(moments.tolist()):
            # A token begins one chunk at most, even after a gap of several.
            if time >= (len(cuts) + 1) * chunk:
                cuts.append(range(start, index))
                start = index
        parts.append([*cuts, range(start, len(moments))])
    longest = max(map(len, parts))
    return [(item, part[i]) for i in range(longest) for item, part in enumerate(parts) if i < len(part)]
