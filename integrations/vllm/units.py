"""What placeholders of a prompt stand for: where the tokens of items stand, and their positions."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from seats_ops.integrations.vllm.clocks import Clock, count
from seats_ops.integrations.vllm.items import Item


@dataclass(frozen=True)
class Unit:
    """What one placeholder of a prompt stands for: an item, or a video and its sound, which take turns.

    Attributes:
        items: one, or (video, sound).
        clock: of the family.
    """

    items: tuple[Item, ...]
    clock: Clock = field(default_factory=Clock)

    @property
    def num_tokens(self) -> int:
        return sum(item.num_tokens for item in self.items)

    @property
    def spans(self) -> list[int]:
        """Tokens of its parts between which text stands."""
        return [self.num_tokens]

    def runs(self) -> list[tuple[int, range]]:
        """(index of the item, its tokens) in the order of the prompt."""
        if len(self.items) == 1:
            return [(0, range(self.items[0].num_tokens))]
        video, sound = self.items
        # In float64, as the processor writes the prompt.
        times = count(video.frames).double() * video.seconds * self.clock.per_second
        return self.clock.turns([times.repeat_interleave(video.height * video.width), count(sound.frames)])

    def columns(self) -> list[Tensor]:
        """int64 [N] of every item: which of the unit's tokens each of its own is."""
        found = [torch.empty(item.num_tokens, dtype=torch.int64, device="cpu") for item in self.items]
        start = 0
        for index, part in self.runs():
            found[index][part.start : part.stop] = count(len(part)) + start
            start += len(part)
        return found

    def positions(self) -> Tensor:
        """int64 [3, N] of the unit's tokens, from its begin on."""
        parts = self._parts()
        return torch.cat(parts, 1) if parts else torch.empty(3, 0, dtype=torch.int64, device="cpu")

    @property
    def end(self) -> int:
        """Position at which the text after it goes on: behind the last run, whatever earlier ones have."""
        if len(self.items) == 1:
            return self.clock.after(self.items[0])
        parts = self._parts()
        return int(parts[-1].max()) + 1 if parts else 0

    @property
    def top(self) -> int:
        """The first position that none of its tokens has, nor any after it."""
        return int(self.positions().max()) + 1 if self.num_tokens else 0

    def _parts(self) -> list[Tensor]:
        """Positions of the runs that have any."""
        each = [self.clock.positions(item) for item in self.items]
        runs = [(0, range(self.num_tokens))]
        if len(each) > 1:
            # The model cuts by whole positions, and numbers the columns that the processor wrote with what it gets.
            runs = self.clock.turns([x[0] for x in each])
        return [each[index][:, part.start : part.stop] for index, part in runs if len(part)]
