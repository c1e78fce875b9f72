"""Schedules: which stages act where, and the keep ratios that meet a retention target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from seats_ops.operators.inputs import AFTER_A_LAYER, parse_input
from seats_ops.operators.stage import Stage
from seats_ops.operators.stage_checks import check_stage_type, name_of
from seats_ops.operators.stored import classes_by_name, from_dict, to_dict
from seats_ops.schedule import diagram, file
from seats_ops.validation import describe


@dataclass(frozen=True, init=False)
class Schedule:
    """Stages before the LLM and after its layers. Where it is built, a single stage may stand for a list of one.

    Attributes:
        before_llm: stages that act on the merged embeddings, in order.
        after_layer: stages that act on the output of a decoder layer (1-based), ascending.

    Raises:
        TypeError: something that is not a stage or cannot be called as one, a layer that is not an int.
        ValueError: a layer below 1, inputs nobody has, a stage before the LLM that needs the scores of a layer.

    Example:
        >>> from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner
        >>> schedule = Schedule(DiversitySelector(0.25), {16: StagePruner(0.5), 23: ModalityDropper()})
        >>> print(schedule)
        * prompt          all tokens
        * before the LLM  DiversitySelector(0.25)
        | layers 1 to 16
        * after layer 16  StagePruner(0.5)
        | layers 17 to 23
        * after layer 23  ModalityDropper()
        | layers 24 to the last
    """

    before_llm: tuple[Stage, ...]
    after_layer: Mapping[int, tuple[Stage, ...]]

    def __init__(
        self,
        before_llm: Stage | Iterable[Stage] = (),
        after_layer: Mapping[int, Stage | Iterable[Stage]] | None = None,
    ) -> None:
        object.__setattr__(self, "before_llm", _stages("before_llm", before_llm))
        for stage in self.before_llm:
            late = [name for name in stage.inputs if parse_input(name).kind in AFTER_A_LAYER]
            if late:
                raise ValueError(f"before_llm: expected stages that need no {late[0]}, which a layer has, got {stage}")
        after_layer = {} if after_layer is None else after_layer
        if not isinstance(after_layer, Mapping):
            raise TypeError(f"after_layer: expected a mapping from layer to stages, got {describe(after_layer)}")
        for layer in after_layer:
            if isinstance(layer, bool) or not isinstance(layer, int):
                raise TypeError(f"after_layer: expected int keys, got {describe(layer)}")
            if layer < 1:
                raise ValueError(f"after_layer: expected layers from 1, got {layer}")
        ordered = {n: _stages(f"after_layer[{n}]", after_layer[n]) for n in sorted(after_layer)}
        for layer, stages in ordered.items():
            _check_states(layer, stages)
        object.__setattr__(self, "after_layer", {n: stages for n, stages in ordered.items() if stages})

    def stages(self) -> list[tuple[int, Stage]]:
        """(layer, stage) in the order they act; layer 0 is before the LLM.

        Example:
            >>> [(layer, type(stage).__name__) for layer, stage in schedule.stages()]
            [(0, 'DiversitySelector'), (16, 'StagePruner'), (23, 'ModalityDropper')]
        """
        after = [(layer, stage) for layer, stages in self.after_layer.items() for stage in stages]
        return [(0, stage) for stage in self.before_llm] + after

    def __hash__(self) -> int:
        """Of what acts where; settings, which may be mappings, decide equality alone."""
        return hash(tuple((layer, type(stage).__name__) for layer, stage in self.stages()))

    def __str__(self) -> str:
        """A line for every stage, and for the layers in between."""
        return diagram.text(self.stages())

    def _repr_html_(self) -> str:
        return diagram.html(self.stages())

    def save(self, path: str | Path) -> None:
        """Write `to_dict` to a file, JSON or YAML by the end of its name.

        Raises:
            TypeError, ValueError: as `to_dict`, or a name that ends otherwise. OSError: it cannot be written.

        Example:
            >>> schedule.save("schedule.json")
        """
        file.write(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | Path, types: Iterable[type] = ()) -> Schedule:
        """Read a file that `save` wrote, or a person.

        Args:
            path: ends in .json, .yaml or .yml.
            types: as in `from_dict`.

        Raises:
            ValueError: what is wrong with the file, and with which entry of it. OSError: it cannot be read.

        Example:
            >>> schedule.save("mine.json")
            >>> Schedule.load("mine.json") == schedule
            True
        """
        try:
            return cls.from_dict(file.read(Path(path)), types)
        except TypeError as error:
            raise ValueError(f"{path}: {error}") from error
        except ValueError as error:
            raise error if str(error).startswith(("path:", str(path))) else ValueError(f"{path}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """JSON form: `Schedule.from_dict(json.loads(json.dumps(s.to_dict()))) == s`.

        Raises:
            TypeError, ValueError: a stage or an allocator that does not say how it is stored, or under another name.

        Example:
            >>> Schedule(after_layer={23: ModalityDropper(("audio",))}).to_dict()
            {'before_llm': [], 'after_layer': {'23': [{'type': 'ModalityDropper', 'modalities': ['audio']}]}}
        """
        return {
            "before_llm": [to_dict(stage) for stage in self.before_llm],
            "after_layer": {str(n): [to_dict(stage) for stage in stages] for n, stages in self.after_layer.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], types: Iterable[type] = ()) -> Schedule:
        """Inverse of `to_dict`.

        Args:
            data: what `to_dict` gave; an entry that is empty may be left out, not both.
            types: classes of stages and allocators of your own that may occur, each with a class method `from_dict`.

        Raises:
            TypeError: something that is no mapping, a type without `from_dict`.
            ValueError: no or another entry, a type that is not known.

        Example:
            >>> Schedule.from_dict(schedule.to_dict()) == schedule
            True
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"data: expected what Schedule.to_dict gave, got {describe(data)}")
        known = classes_by_name(types)
        if not {"before_llm", "after_layer"} & set(data):
            raise ValueError(f"data: expected entries before_llm or after_layer, got {sorted(map(str, data))}")
        unknown = set(data) - {"before_llm", "after_layer"}
        if unknown:
            raise ValueError(f"data: expected entries before_llm and after_layer, got {sorted(map(str, unknown))} too")
        after_layer = data.get("after_layer", {})
        if not isinstance(after_layer, Mapping):
            raise TypeError(f"after_layer: expected a mapping from layer to stages, got {describe(after_layer)}")
        return cls(
            before_llm=_stages_from_list("before_llm", data.get("before_llm", []), known),
            after_layer={
                _layer(key): _stages_from_list(f"after_layer[{key}]", items, known)
                for key, items in after_layer.items()
            },
        )


def _stages(name: str, value: object) -> tuple[Stage, ...]:
    is_one = isinstance(value, Stage) or (callable(value) and not isinstance(value, Iterable))
    stages = (value,) if is_one else value
    if not isinstance(stages, Iterable) or isinstance(stages, (str, Mapping)):
        raise TypeError(f"{name}: expected a stage or a list of stages, got {describe(value)}")
    return tuple(check_stage_type(name, stage) for stage in stages)


def _check_states(layer: int, stages: tuple[Stage, ...]) -> None:
    """Raise ValueError for a stage that asks for states before the layer of rows that were merged after it."""
    merged = None
    for stage in stages:
        before = [name for name in stage.inputs if name == "previous" or name.endswith("/attention")]
        if merged is not None and before:
            who = f"{name_of(stage)} after {name_of(merged)}, which merges rows"
            raise ValueError(f"after_layer[{layer}]: expected {before[0]} to be asked for before rows merge, got {who}")
        merged = stage if getattr(stage, "merges", False) else merged


def _layer(key: object) -> int:
    """JSON has texts for keys, YAML numbers."""
    text = str(key)
    if isinstance(key, bool) or not text.isdecimal():
        raise ValueError(f"after_layer: expected whole numbers as keys, got {key!r}")
    return int(text)


def _stages_from_list(where: str, items: object, known: Mapping[str, Any]) -> tuple[Stage, ...]:
    """Raises TypeError, ValueError: with the place of the stage that is wrong."""
    if not isinstance(items, (list, tuple)):
        raise TypeError(f"{where}: expected a list of stages, got {describe(items)}")
    found = []
    for number, item in enumerate(items):
        try:
            found.append(from_dict(item, known))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}[{number}]: {error}") from error
    return tuple(found)


def average_retention(
    encoder_ratio: float, drop: float, *, num_layers: int, drop_layers: Sequence[int], late_layer: int | None
) -> float:
    """Retention averaged over all layers if the drops together remove the fraction `drop` of the encoder ratio.

    Segment i runs on N_0 (1 - drop * C_i), N_0 the encoder ratio and C_i the running sum of e^(i-1) / sum_j e^(j-1)
    (SEATS section 3.2); layers without audio and video count as 0.
    """
    lengths, shares = _segments(num_layers, drop_layers, late_layer)
    weighted = sum(n * (1.0 - drop * share) for n, share in zip(lengths, [0.0, *shares], strict=True))
    return encoder_ratio * weighted / num_layers


def solve_keep_ratios(
    retention: float,
    encoder_ratio: float,
    *,
    num_layers: int,
    drop_layers: Sequence[int],
    late_layer: int | None = None,
    digits: int | None = 4,
) -> tuple[float, ...]:
    """Keep ratio of every drop, N_i / N_(i-1), such that the layer average meets `retention` (SEATS section 3.2).

    A target above what the encoder ratio allows gives 1.0 throughout, one below what the drops can reach ends in 0.0.

    Args:
        retention: tokens kept, averaged over all layers, as a share of the encoder's tokens.
        encoder_ratio: share of the encoder's tokens that enter the LLM.
        num_layers: decoder layers.
        drop_layers: 1-based layers whose output is pruned, in any order. Those at or after the layer whose output loses
            all audio and video are left out.
        late_layer: first layer without audio and video; None = never.
        digits: decimals to round to, 4 as in the paper's implementation; None does not round.

    Returns:
        One ratio per effective drop layer, ascending.
    """
    _, shares = _segments(num_layers, drop_layers, late_layer)
    # The average is linear in the total drop: two points of the line give the drop that meets the target.
    most, least = (
        average_retention(encoder_ratio, f, num_layers=num_layers, drop_layers=drop_layers, late_layer=late_layer)
        for f in (0.0, 1.0)
    )
    drop = min(1.0, max(0.0, (most - retention) / (most - least))) if most > least else 0.0
    levels = [1.0, *(1.0 - drop * share for share in shares)]
    ratios = (after / before for before, after in pairwise(levels))
    return tuple(ratios) if digits is None else tuple(round(ratio, digits) for ratio in ratios)


def _segments(num_layers: int, drop_layers: Sequence[int], late_layer: int | None) -> tuple[list[int], list[float]]:
    """Layers per segment (K + 1 of them) and the running shares C_1..C_K of the total drop."""
    end = num_layers if late_layer is None else min(late_layer - 1, num_layers)
    drops = [layer for layer in sorted(drop_layers) if layer < end]
    edges = [0, *drops, end]
    growth = [math.exp(i) for i in range(len(drops))]
    shares = [sum(growth[: i + 1]) / sum(growth) for i in range(len(drops))]
    return [b - a for a, b in pairwise(edges)], shares
