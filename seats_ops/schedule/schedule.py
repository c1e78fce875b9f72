"""Schedules: which stages act where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seats_ops.operators.inputs import AFTER_A_LAYER, needs_previous, parse_input
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
        before = [name for name in stage.inputs if needs_previous(name)]
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
