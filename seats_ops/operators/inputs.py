"""What a stage may ask for: names, variants, and where each of them is to be had."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

SALIENCY = ("sum", "mean", "pooled", "cls")
"""How attention in the encoder becomes one number per token, see `seats_ops.Stage`."""
QUERIES = ("last_text", "instruction", "text_mean", "text_max", "rows")
ROW = re.compile(r"row\[(0|-?[1-9]\d*)\]")
"""The query that is one token of a prompt, by its place as Python counts."""
WEIGHTS = ("own", "next", "attention")
FACTS = ("grid", "seconds", "question")
"""What an input adds to the layout instead of being passed."""
VARIANTS = {
    "features": (),
    "previous": (),
    "embeddings": (),
    "saliency": SALIENCY,
    "keys": (),
    "scores": tuple(f"{query}/{weights}" for query in QUERIES for weights in WEIGHTS),
    "kept": (),
    "counts": (),
    "generators": (),
    **dict.fromkeys(FACTS, ()),
}
DEFAULTS = {"saliency": "sum", "scores": "last_text/own"}
AFTER_A_LAYER = ("scores", "previous")


class Input(NamedTuple):
    """One input, taken apart.

    Attributes:
        name: as a stage says it, with the default variant left out.
        kind: what is before the colon.
        variant: what is after it, or the default; "" where there are none.
    """

    name: str
    kind: str
    variant: str

    @property
    def keyword(self) -> str:
        """The name under which it is passed."""
        return self.variant if self.kind == "external" else self.kind

    @property
    def is_fact(self) -> bool:
        """It is found on the layout, and not passed."""
        return self.kind in FACTS


def parse_input(name: str) -> Input:
    """An input from its name, e.g. "features", "saliency:mean", "scores:text_max/next", "external:clip".

    Raises:
        ValueError: nobody has it.
    """
    kind, colon, variant = name.partition(":")
    if kind == "external" and variant.isidentifier():
        return Input(name, kind, variant)
    if kind not in VARIANTS:
        raise ValueError(f"expected names among {(*VARIANTS, 'external:NAME')}, got {name!r}")
    variant = variant if colon else DEFAULTS.get(kind, "")
    if colon and not _is_variant(kind, variant):
        known = f"{VARIANTS[kind] or 'none'}{' or row[N]/WEIGHTS' if kind == 'scores' else ''}"
        raise ValueError(f"{kind}: expected a variant among {known}, got {name!r}")
    return Input(kind if variant == DEFAULTS.get(kind, "") else name, kind, variant)


def is_query(name: object) -> bool:
    """One of `QUERIES`, or a row."""
    return isinstance(name, str) and (name in QUERIES or ROW.fullmatch(name) is not None)


def needs_previous(name: str) -> bool:
    """What a layer started from is needed for this input, given by its full name."""
    return name == "previous" or name.endswith("/attention")


def _is_variant(kind: str, variant: str) -> bool:
    if kind != "scores":
        return variant in VARIANTS[kind]
    query, _, weights = variant.partition("/")
    return is_query(query) and weights in WEIGHTS


def parse_inputs(names: Iterable[str]) -> tuple[Input, ...]:
    """`parse_input` of each of them.

    Raises:
        ValueError: nobody has one of them, or two would be passed under one name.
    """
    inputs = tuple(parse_input(name) for name in names)
    keywords = [item.keyword for item in inputs]
    if len(set(keywords)) != len(keywords):
        raise ValueError(f"expected one of a kind, got {tuple(item.name for item in inputs)}")
    return inputs


def joined_inputs(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The inputs of several parts of a stage, each once, in order of appearance."""
    return tuple(dict.fromkeys(parse_input(name).name for part in parts for name in part))
