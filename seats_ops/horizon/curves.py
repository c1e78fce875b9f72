"""Per layer and way of pruning a number for every row, and means of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from seats_ops.compare.overall import CONFIDENCE, Mean, mean_of
from seats_ops.validation import check_choice, describe

MEDIA = "media"
"""Way of pruning: all audio, video and pictures leave."""
RELEVANCE = "relevance"
"""Way of pruning: of every modality the share with the highest relevance to the query stays."""
SHUFFLED = "shuffled"
"""Way of pruning: the same with relevance shuffled within each (row, modality)."""

METRICS = ("agreement", "kl")

C = TypeVar("C", bound="Curves")


@dataclass(frozen=True)
class Cell:
    """One way of pruning after one layer, row by row; a row is a prompt, numbered in the order in which it came.

    Attributes:
        rows: those of which something was to leave; the other fields have an entry for each.
        agreement: share of the places of the full model's answer at which the same token is the likeliest: 0 or 1
            where the answer is one token.
        kl: KL(full || pruned) of the next token in nats, mean of the same places.
        tokens: the token that the pruned model finds likeliest at the first place.

    Example:
        >>> from seats_ops.horizon import Cell
        >>> Cell(rows=(0, 2), agreement=(1.0, 0.0), kl=(0.01, 0.7), tokens=(5, 9)).rows
        (0, 2)
    """

    rows: tuple[int, ...]
    agreement: tuple[float, ...]
    kl: tuple[float, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Curves:
    """What the answers of a model lose by pruning after each of its layers: a `Horizon` without what it leads to.

    Attributes: those of `Horizon`.

    Example:
        >>> from seats_ops.horizon import measure_horizon
        >>> horizon = measure_horizon(model, [inputs], layers=[0, 27])
        >>> horizon.modalities, sorted(horizon.cells)[:3]
        (('video', 'audio'), [('audio', 0), ('audio', 27), ('media', 0)])
    """

    num_layers: int
    layers: tuple[int, ...]
    modalities: tuple[str, ...]
    share: float
    answer_tokens: int
    seed: int
    tokens: tuple[int, ...]
    labels: tuple[str, ...] | None
    cells: Mapping[tuple[str, int], Cell]

    @property
    def num_rows(self) -> int:
        """Prompts."""
        return len(self.tokens)

    @property
    def ways(self) -> tuple[str, ...]:
        """Ways of pruning that differ: with one modality, it alone and all media are the same."""
        alone = self.modalities if len(self.modalities) > 1 else ()
        return (MEDIA, *alone, RELEVANCE, SHUFFLED)

    def cell(self, way: str, layer: int) -> Cell:
        """What was measured of one way. Raises ValueError: none such.

        Example:
            >>> horizon.cell("media", 27).rows
            (0,)
        """
        if (way, layer) not in self.cells:
            known = sorted({name for name, _ in self.cells})
            raise ValueError(f"way, layer: expected one of {known} after one of {self.layers}, got {way!r}, {layer!r}")
        return self.cells[way, layer]

    def mean(self, way: str, layer: int, metric: str = "agreement", *, confidence: float = CONFIDENCE) -> Mean:
        """Over rows, with a bootstrap interval from five rows on.

        Args:
            way, layer: see `cells`.
            metric: "agreement" or "kl".
            confidence: of the interval.

        Raises:
            ValueError: nothing such was measured.

        Example:
            >>> horizon.mean("video", 0, "kl").value > 0
            True
        """
        return mean_of(getattr(self.cell(way, layer), check_choice("metric", metric, METRICS)), confidence)

    def gain(self, layer: int, metric: str = "kl", *, confidence: float = CONFIDENCE) -> Mean:
        """What relevance saves of the loss that shuffled scores cause, row by row: above 0, relevance is better.

        Args:
            layer: one of `layers`, not 0.
            metric: "kl" (shuffled - relevance) or "agreement" (relevance - shuffled).
            confidence: of the interval (paired bootstrap over rows).

        Raises:
            ValueError: nothing such was measured.

        Example:
            >>> horizon.gain(27).prompts
            1
        """
        check_choice("metric", metric, METRICS)
        pairs = zip(*(getattr(self.cell(way, layer), metric) for way in (RELEVANCE, SHUFFLED)), strict=True)
        sign = -1.0 if metric == "kl" else 1.0
        return mean_of([sign * (mine - chance) for mine, chance in pairs], confidence)

    def accuracy(self, answers: Sequence[int], way: str | None = None, layer: int = 0) -> Mean:
        """Share of rows whose first greedy token is the right one, for prompts with known answers.

        Args:
            answers: a token id per row.
            way, layer: see `cells`; None is the full model.

        Raises:
            ValueError: another number of answers; nothing such was measured.

        Example:
            >>> horizon.accuracy(horizon.tokens).value  # the full model against itself
            1.0
        """
        if len(answers) != self.num_rows:
            raise ValueError(f"answers: expected {self.num_rows}, one per row, got {len(answers)}")
        rows, tokens = range(self.num_rows), self.tokens
        if way is not None:
            cell = self.cell(way, layer)
            rows, tokens = cell.rows, cell.tokens  # type: ignore[assignment]
        return mean_of([float(answers[row] == token) for row, token in zip(rows, tokens, strict=True)])

    def of(self: C, label: str) -> C:
        """The rows with this label alone, numbered anew. Raises ValueError: no row has it.

        Example:
            >>> from dataclasses import replace
            >>> replace(horizon, labels=("who",)).of("who").num_rows
            1
        """
        chosen = [row for row, name in enumerate(self.labels or ()) if name == label]
        if not chosen:
            known = sorted(set(self.labels or ()))
            raise ValueError(f"label: expected one of {known}, got {describe(label)}")
        number = {row: i for i, row in enumerate(chosen)}
        cells = {}
        for key, cell in self.cells.items():
            kept = [i for i, row in enumerate(cell.rows) if row in number]
            if kept:
                values = {name: tuple(getattr(cell, name)[i] for i in kept) for name in ("agreement", "kl", "tokens")}
                cells[key] = Cell(tuple(number[cell.rows[i]] for i in kept), **values)
        return replace(
            self,
            modalities=tuple(name for name in self.modalities if any(way == name for way, _ in cells)),
            tokens=tuple(self.tokens[row] for row in chosen),
            labels=(label,) * len(chosen),
            cells=cells,
        )
