"""Token ids: what clips are made of, what is asked about them, and the answers."""

from __future__ import annotations

from enum import Enum

PAD, BOS, NO_ARGUMENT, NOTHING = 0, 1, 9, 10
"""NOTHING is what a token shows that is neither object nor tone."""
NUM_SYMBOLS, NUM_COLOURS, NUM_TONES, NUM_TIMBRES, NUM_GISTS, NUM_SHARES = 24, 6, 24, 6, 5, 4
SYMBOL, COLOUR = 16, 40
TONE, TIMBRE = 46, 70
GIST, SHARE = 76, 81
AUDIO, IMAGE, VIDEO, VISION_START, VISION_END, AUDIO_START, AUDIO_END = range(88, 95)
SIZE = 96


class Question(Enum):
    """What is asked; the value is the token that asks it. One argument follows, then the answer is one token.

    Chance is that of a guess among all answers of the kind.
    """

    COLOUR_OF = 2
    """Symbol -> its colour: one hop, in the picture."""
    TIMBRE_OF = 3
    """Tone -> its timbre: one hop, in the sound."""
    SEEN_WITH = 4
    """Tone -> the symbol of the window in which it sounds, or of the one before if that shows none: two hops."""
    HEARD_WITH = 5
    """Symbol -> the tone of its window, or of the next one if that is silent: two hops."""
    SEEN_NEXT = 6
    """Symbol -> the symbol shown after it: two hops."""
    GIST_OF = 7
    """The texture behind everything."""
    SHARE_OF = 8
    """How much of the background is marked: about 0.1, 0.37, 0.63 or 0.9 of it."""

    @property
    def chance(self) -> float:
        return 1.0 / _ANSWERS[self]


_ANSWERS = {
    Question.COLOUR_OF: NUM_COLOURS,
    Question.TIMBRE_OF: NUM_TIMBRES,
    Question.SEEN_WITH: NUM_SYMBOLS,
    Question.HEARD_WITH: NUM_TONES,
    Question.SEEN_NEXT: NUM_SYMBOLS,
    Question.GIST_OF: NUM_GISTS,
    Question.SHARE_OF: NUM_SHARES,
}
