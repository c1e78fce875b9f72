"""Media of a request, from lengths alone."""

from __future__ import annotations

from dataclasses import dataclass

from seats_ops.cost.prompt_lengths import split_blocks
from seats_ops.layout import MediaShape, Modality

GRIDS_PER_BLOCK = 2
AUDIO_BLOCK = 50


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
