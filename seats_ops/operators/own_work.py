"""What choosing costs: multiply-adds of the products of rows that a stage makes, and the sizes they depend on.

Counted are leading terms, as in the decoder's formula: rows multiplied with other rows, pair by pair, distances of rows
like products, and rows that a merge adds up. Norms, means, softmax, ranks and what padding multiplies are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seats_ops.validation import describe

CALLS = ("__call__", "call_parts", "select")
"""What a stage or a piece of one chooses by."""


@dataclass(frozen=True)
class EncoderSizes:
    """Of the attention in an encoder's last layer.

    Attributes:
        width: heads times head_dim.
        heads: of queries and keys.
        merged: positions that make one token.
    """

    width: int
    heads: int
    merged: int

    @property
    def head_dim(self) -> int:
        """Of a key."""
        return self.width // self.heads


@dataclass(frozen=True)
class Sizes:
    """What multiply-adds of choosing are counted by.

    Attributes:
        hidden: numbers of a token, before the LLM and inside it.
        attention_width, kv_width: of the decoder's queries and of its keys, heads times head_dim.
        encoders: by "video", "audio" and "image"; modalities of which the config says nothing are missing.
    """

    hidden: int
    attention_width: int
    kv_width: int
    encoders: Mapping[str, EncoderSizes]


def pair_macs(lengths: Iterable[int], width: int) -> int:
    """All pairs in groups of so many rows: `max_min_diversity` and `dpc_knn`."""
    return sum(n * n for n in lengths) * width


def dpp_macs(groups: Iterable[tuple[int, int]], width: int) -> int:
    """`greedy_dpp` of groups of (rows, picks): of every pick its row of products, and its factors with those so far."""
    return sum(n * k * width + n * (k * (k - 1) // 2) for n, k in groups)


def num_steps(found: Mapping[str, int]) -> int:
    """Tokens that have one at their place in the frame before; of sound, the tokens before. All without `shapes`."""
    shapes = getattr(found, "shapes", None)
    if shapes is None:
        return found["video"] + found["audio"]
    return sum((shape.t - 1) * shape.h * shape.w for shape in shapes)


def nothing(_: object, found: object, sizes: object) -> int:
    """`own_macs` of what multiplies no rows: it ranks, adds or draws.

    Example:
        >>> from seats_ops import ModalityDropper
        >>> ModalityDropper().own_macs({"text": 5, "video": 100, "audio": 0, "image": 0}, None)
        0
    """
    return 0


def of_steps(_: object, found: Mapping[str, int], sizes: Sizes) -> int:
    """`own_macs` of what compares every token with the one at its place in an earlier frame."""
    return num_steps(found) * sizes.hidden


def of_video(_: object, found: Mapping[str, int], sizes: Sizes) -> int:
    """`own_macs` of what multiplies every token of video once."""
    return found["video"] * sizes.hidden


def of_all(_: object, found: Mapping[str, int], sizes: Sizes) -> int:
    """`own_macs` of what multiplies every token once."""
    return sum(found.values()) * sizes.hidden


def own_macs_of(piece: object, *args: Any) -> int | None:
    """What a stage or a piece of one says of its own work; None where it does not say.

    A subclass that chooses in another way than its base does not speak by what its base says.
    """
    own = getattr(piece, "own_macs", None)
    if own is None or any(_depth(piece, "own_macs") > _depth(piece, call) for call in CALLS):
        return None
    said = own(*args)
    if said is not None and (type(said) is not int or said < 0):
        raise ValueError(f"{type(piece).__name__}.own_macs: expected None or an int from 0, got {describe(said)}")
    return said


def _depth(piece: object, name: str) -> int:
    classes = type(piece).__mro__
    return next((i for i, cls in enumerate(classes) if name in vars(cls)), len(classes))


def added(parts: Iterable[int | None]) -> int | None:
    """Their sum; None if one of them does not say."""
    known = list(parts)
    return None if None in known else sum(part or 0 for part in known)
