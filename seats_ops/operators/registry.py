"""Stages, pieces and allocators by name: what a schedule's JSON and YAML may hold without being told classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import TypeVar

from seats_ops.extensions import import_modules_of, load
from seats_ops.validation import describe

GROUP = "seats_ops.stages"
"""Entry points of this group, in other packages, are classes that are registered once their name is asked for."""
PACKAGES = ("seats_ops.operators", "seats_ops.methods")
"""Where classes of ours are defined."""
C = TypeVar("C", bound=type)


class Registry(Mapping[str, type]):
    """Classes by name; a name that is not there yet is looked for in modules of ours, then among entry points."""

    def __init__(self) -> None:
        self._classes: dict[str, type] = {}

    def add(self, cls: type) -> None:
        """Raises TypeError: not a class that can be read back. ValueError: one defined elsewhere has its name."""
        if not isinstance(cls, type) or not callable(getattr(cls, "from_dict", None)):
            raise TypeError(f"register_stage: expected a class with from_dict, got {describe(cls)}")
        known = self._classes.get(cls.__name__, cls)
        # A cell of a notebook that runs again defines the same class anew.
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"register_stage: expected another name than {cls.__name__}, which another class has")
        self._classes[cls.__name__] = cls

    def __getitem__(self, name: str) -> type:
        """Raises KeyError: nobody has the name. ImportError: an entry point has it that cannot be loaded."""
        if name not in self._classes:
            import_modules_of(*PACKAGES)
        if name not in self._classes:
            for point in entry_points(group=GROUP, name=str(name)):
                self.add(load(point))
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


REGISTERED = Registry()


def register_stage(cls: C) -> C:
    """Make a class of your own known by its name: `Schedule.load` and `from_dict` then need not be given it.

    For stages, scorers, budgets, selectors and allocators, each with a class method `from_dict`. A package that others
    install can name its classes as entry points of the group "seats_ops.stages" instead: they are imported when a
    schedule names them. A class that is defined anew, as by a notebook's cell that runs again, takes the place of the
    one before.

    Raises:
        TypeError: not a class, or one that cannot be read back. ValueError: a class defined elsewhere has its name.

    Example:
        >>> from dataclasses import dataclass
        >>> from seats_ops import Modality, Schedule, register_stage
        >>> from seats_ops.operators.stored import Stored
        >>> @register_stage
        ... @dataclass(frozen=True)
        ... class KeepText(Stored):
        ...     inputs = ()
        ...     def __call__(self, layout, *, backend="auto"):
        ...         return layout.is_modality(Modality.TEXT)
        >>> schedule = Schedule(KeepText())
        >>> Schedule.from_dict(schedule.to_dict()) == schedule
        True
    """
    import_modules_of(*PACKAGES)  # names of ours are taken, imported or not
    REGISTERED.add(cls)
    return cls
