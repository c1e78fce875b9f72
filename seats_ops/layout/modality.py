"""Kinds of tokens, and the shape in which the tokens of a video, a sound or a picture come."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Modality(IntEnum):
    """Kind of a token. Everything that is not video, audio or image is TEXT, special tokens included.

    Example:
        >>> from seats_ops import Modality
        >>> [modality.name for modality in Modality]
        ['TEXT', 'VIDEO', 'AUDIO', 'IMAGE']
    """

    TEXT = 0
    VIDEO = 1
    AUDIO = 2
    IMAGE = 3


class MediaShape(NamedTuple):
    """One video, sound or picture: its tokens come grid by grid, row by row.

    Attributes:
        modality: VIDEO, AUDIO or IMAGE.
        t: temporal grids ("frames") of a video, tokens of a sound, 1 for a picture.
        h, w: tokens of a grid; 1 and 1 for a sound.

    Example:
        >>> from seats_ops.layout import MediaShape, Modality
        >>> MediaShape(Modality.VIDEO, 10, 4, 6).num_tokens
        240
    """

    modality: Modality
    t: int
    h: int = 1
    w: int = 1

    @property
    def num_tokens(self) -> int:
        """t * h * w."""
        return self.t * self.h * self.w
