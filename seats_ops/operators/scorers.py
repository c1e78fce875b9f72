"""Scores that an input gives as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from seats_ops.layout import TokenLayout
from seats_ops.operators.inputs import DEFAULTS, QUERIES, SALIENCY, WEIGHTS, is_query, joined_inputs, parse_input
from seats_ops.operators.own_work import nothing
from seats_ops.operators.stored import Stored


@dataclass(frozen=True)
class Saliency(Stored):
    """Attention received in the encoder.

    Attributes:
        reduction: "sum", "mean", "pooled" or "cls", see `seats_ops.Stage`.
    """

    is_scorer: ClassVar[bool] = True
    own_macs = nothing

    reduction: str = DEFAULTS["saliency"]

    def __post_init__(self) -> None:
        if self.reduction not in SALIENCY:
            raise ValueError(f"reduction: expected one of {SALIENCY}, got {self.reduction!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one reduction."""
        return (parse_input(f"saliency:{self.reduction}").name,)

    def __call__(self, saliency: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        """float32 [T]."""
        return saliency


class BySaliency:
    """What stages with a `reduction` of attention in the encoder share: their inputs.

    Attributes:
        further: inputs beside the features and the attention.
    """

    further: ClassVar[tuple[str, ...]] = ("grid",)

    reduction: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Features, attention, and further ones."""
        return joined_inputs((("features",), Saliency(self.reduction).inputs, self.further))


@dataclass(frozen=True)
class Relevance(Stored):
    """Attention to the query, after a layer.

    Attributes:
        query: "last_text", "instruction", "text_mean", "text_max", "rows" or "row[N]", see `seats_ops.Stage`.
        weights: "own", "next" or "attention", see there.
    """

    is_scorer: ClassVar[bool] = True
    own_macs = nothing

    query: str = "last_text"
    weights: str = "own"

    def __post_init__(self) -> None:
        if not is_query(self.query):
            raise ValueError(f'query: expected one of {QUERIES} or "row[N]", got {self.query!r}')
        if self.weights not in WEIGHTS:
            raise ValueError(f"weights: expected one of {WEIGHTS}, got {self.weights!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one kind of scores."""
        return (parse_input(f"scores:{self.query}/{self.weights}").name,)

    def __call__(self, scores: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        """float32 [T]."""
        return scores
