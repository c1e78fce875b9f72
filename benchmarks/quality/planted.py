"""Stages that know the answer, and faults planted in stages that do not: what gates are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from seats_ops import Modality, TokenLayout
from seats_ops.operators.selection import Selection

NEEDLES = "external:needles"
"""Bool [T], tokens that answer the question."""
EARLY_SCORES = "external:early_scores"
"""float32 [T], relevance as the first layer sees it."""


def tokens_by_row(layout: TokenLayout) -> Iterator[tuple[Modality, Tensor]]:
    """Ascending indices of the video tokens of a row, of its audio tokens, and so on for every row that has some."""
    rows = layout.rows()
    for row in range(layout.num_rows):
        for modality in (Modality.VIDEO, Modality.AUDIO):
            index = ((rows == row) & (layout.modality == modality)).nonzero().flatten()
            if len(index):
                yield modality, index


def _shuffled(values: Tensor, layout: TokenLayout, generators: list[Generator]) -> Tensor:
    """Every token has the value of another one of its row and modality."""
    values, rows = values.clone(), layout.rows()
    for _, index in tokens_by_row(layout):
        order = torch.randperm(len(index), generator=generators[int(rows[index[0]])])
        values[index] = values[index[order]]
    return values


@dataclass(frozen=True)
class Knowing:
    """Keeps round(ratio * n) tokens of every row and modality: needles first and random filler, or no needle at all.

    Attributes:
        ratio: in [0, 1], at least a token.
        needles_kept: the oracle keeps them all, more than the ratio if it must; the anti-oracle (False) keeps none.
        seed: of the filler.
    """

    inputs: ClassVar[tuple[str, ...]] = (NEEDLES, "generators")
    ratio: float
    needles_kept: bool
    seed: int = 0

    def __call__(
        self, needles: Tensor, layout: TokenLayout, *, generators: list[Generator], backend: str = "auto"
    ) -> Tensor:
        keep = layout.is_modality(Modality.TEXT).clone()
        rows = layout.rows()
        for _, index in tokens_by_row(layout):
            hit = needles[index]
            count = max(1, round(self.ratio * len(index)))
            key = (
                torch.rand(len(index), generator=generators[int(rows[index[0]])])
                + (2.0 if self.needles_kept else -2.0) * hit
            )
            most = max(count, int(hit.sum())) if self.needles_kept else min(count, int((~hit).sum()))
            keep[index[key.argsort(descending=True)[:most]]] = True
        return keep

    def count_tokens(self, found: Mapping[str, int]) -> dict[str, int]:
        """But for prompts with more needles than the ratio leaves."""
        return {
            **found,
            **{name: max(1, round(self.ratio * found[name])) for name in ("video", "audio") if found[name]},
        }

    def to_dict(self) -> dict[str, Any]:
        return {"ratio": self.ratio, "needles_kept": self.needles_kept, "seed": self.seed}


@dataclass(frozen=True)
class Shuffled:
    """A stage that is told another token's `what`, of the same row and modality.

    Attributes:
        inner: the stage.
        what: "saliency" or "scores", one of its inputs.
        seed: of the permutations.
    """

    inner: Any
    what: str
    seed: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.inner.inputs, "generators")

    def __call__(self, *given: Any, backend: str = "auto", generators: list[Generator], **named: Any) -> Any:
        first, layout = given if len(given) == 2 else (None, given[0])
        values = named.get(self.what, first)
        values = _shuffled(values, layout, generators)
        if self.what in named:
            return self.inner(*given, **{**named, self.what: values}, backend=backend)
        return self.inner(values, layout, **named, backend=backend)

    def to_dict(self) -> dict[str, Any]:
        return {"what": self.what, "seed": self.seed}


@dataclass(frozen=True)
class WrongWindows:
    """A `StagePruner` for which every token of a row lies in a random one of its windows."""

    inner: Any
    seed: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.inner.inputs, "generators")

    def __call__(
        self, scores: Tensor, layout: TokenLayout, *, backend: str = "auto", generators: list[Generator]
    ) -> Any:
        assert layout.window is not None
        window = _shuffled(layout.window, layout, generators)
        return self.inner(scores, replace(layout, window=window, host=None), backend=backend)

    def to_dict(self) -> dict[str, Any]:
        return {"seed": self.seed}


@dataclass(frozen=True)
class EarlyScores:
    """A `StagePruner` that is handed the scores of the first layer."""

    inputs: ClassVar[tuple[str, ...]] = (EARLY_SCORES,)
    inner: Any

    def __call__(self, early_scores: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Any:
        return self.inner(early_scores, layout, backend=backend)

    def to_dict(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Renumbered:
    """Keeps everything, at rotary positions that are not its own: those left are counted without gaps."""

    inputs: ClassVar[tuple[str, ...]] = ()
    renumbers: ClassVar[bool] = True

    def __call__(self, layout: TokenLayout, *, backend: str = "auto") -> Selection:
        return Selection(torch.ones_like(layout.modality, dtype=torch.bool), positions="renumbered")

    def to_dict(self) -> dict[str, Any]:
        return {}
