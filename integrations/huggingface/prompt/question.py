"""Which text of a prompt asks: what the user wrote last, without the tokens that a chat template puts around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from seats_ops.layout import Modality, TokenLayout

_ENDS = ("eos_token_id", "im_end_token_id")
_AROUND = (
    "bos_token_id",
    "pad_token_id",
    "im_start_token_id",
    "vision_start_token_id",
    "vision_end_token_id",
    "audio_start_token_id",
    "audio_end_token_id",
)


@dataclass(frozen=True)
class TurnTokens:
    """Special tokens of a model, as far as its configs tell them.

    Attributes:
        ends: any of these ends a turn of a conversation: what generation stops at (`<|im_end|>`, `<|end|>`).
        around: any of these stands around text and media, and is neither.
    """

    ends: frozenset[int] = frozenset()
    around: frozenset[int] = frozenset()

    @classmethod
    def from_model(cls, thinker: nn.Module, text_config: Any) -> TurnTokens:
        """From a model's config, that of its decoder, and its `generation_config`."""
        holders = (thinker.config, text_config, getattr(thinker, "generation_config", None))
        ends, around = (frozenset(_ids(holders, names)) for names in (_ENDS, _AROUND))
        # Qwen2.5-Omni's config calls the token that opens a turn its bos token; padding often is an end.
        return cls(ends, around | ends)


def _ids(holders: tuple[Any, ...], names: tuple[str, ...]) -> Iterator[int]:
    for holder in holders:
        for name in names:
            value = getattr(holder, name, None)
            yield from value if isinstance(value, (list, tuple)) else () if value is None else (value,)


def question_tokens(ids: Tensor, layout: TokenLayout, tokens: TurnTokens) -> Tensor:
    """The question of every prompt.

    1. It ends before the last token of `tokens.ends` behind the prompt's last token of media, so that the opening of
       the answer's turn (`<|im_end|> \\n <|im_start|> assistant \\n`) is none of it; without one, at the prompt's end.
    2. It starts behind the last token of media, or behind the last but one of those ends, whichever is later. In the
       latter case the opening of the user's turn is skipped, if it looks like that of the answer's turn: equally many
       tokens, of which at most one, the role, is another.
    3. Tokens of `tokens.around` at either end are left out.

    Where nothing is left (the user wrote first and showed then), all text behind the last token of media is the
    question. A prompt that ends in text therefore has one.

    Args:
        ids: int64 [T], tokens of the layout.
        layout: on the CPU.
        tokens: special tokens; none are needed.

    Returns:
        bool [T].
    """
    question = torch.zeros(len(layout), dtype=torch.bool, device="cpu")
    offsets, is_media = layout.cu_seqlens.tolist(), layout.modality != Modality.TEXT
    for first, end in pairwise(offsets):
        media = is_media[first:end].nonzero()
        shown = first + int(media[-1]) + 1 if len(media) else first
        start, stop = _asked(ids[shown:end].tolist(), tokens)
        question[shown + start : shown + stop] = True
    return question


def _asked(text: list[int], tokens: TurnTokens) -> tuple[int, int]:
    """Where the question starts and stops in the text behind the last token of media."""
    ends = [place for place, token in enumerate(text) if token in tokens.ends]
    start, stop = 0, ends[-1] if ends else len(text)
    if len(ends) > 1:
        start = ends[-2] + 1
        opening = text[stop + 1 :]
        other = sum(a != b for a, b in zip(text[start:stop], opening, strict=False))
        if start + len(opening) <= stop and other <= 1:
            start += len(opening)
    while start < stop and text[start] in tokens.around:
        start += 1
    while start < stop and text[stop - 1] in tokens.around:
        stop -= 1
    return (start, stop) if start < stop else (0, len(text))
