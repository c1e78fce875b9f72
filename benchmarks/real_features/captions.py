"""Captions on a black box, drawn with the font that matplotlib's wheel carries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .packages import FONT, packaged

SIZE = 20
MARGIN = 6
_WORDS = """
amber anchor basket bridge candle carpet copper cotton desert dragon engine falcon forest garden guitar hammer
harbor island jacket kettle ladder lemon marble meadow mirror needle orange pepper pillow planet ribbon river
saddle silver spider summer tunnel valley velvet violin walnut window winter yellow
"""
WORDS = _WORDS.split()


@dataclass(frozen=True)
class Caption:
    """`text`, and the pixels of its box: rows top to bottom, columns left to right, ends excluded."""

    text: str
    top: int
    left: int
    bottom: int
    right: int

    def touches(self, side: int, height: int, width: int) -> np.ndarray:
        """bool [height * width]: tokens, squares of `side` pixels, that hold a pixel of the box."""
        found = np.zeros((height, width), bool)
        found[self.top // side : -(-self.bottom // side), self.left // side : -(-self.right // side)] = True
        return found.reshape(-1)


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(packaged(*FONT)), SIZE)


def draw_caption(generator: np.random.Generator, height: int, width: int) -> tuple[Caption, np.ndarray]:
    """Two different words at a place of the generator's choice, and the box, uint8 [h, w, 3]."""
    text = " ".join(str(word) for word in generator.choice(WORDS, 2, replace=False))
    left, top, right, bottom = (round(n) for n in _font().getbbox(text))
    size = (right - left + 2 * MARGIN, bottom - top + 2 * MARGIN)
    box = Image.new("RGB", size, "black")
    ImageDraw.Draw(box).text((MARGIN - left, MARGIN - top), text, "white", _font())
    row, column = (int(generator.integers(0, n)) for n in (height - size[1] + 1, width - size[0] + 1))
    return Caption(text, row, column, row + size[1], column + size[0]), np.asarray(box)
