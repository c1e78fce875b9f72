"""The JSON form of stages and allocators: what they say of their settings, under the name of their class."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from seats_ops.operators.registry import REGISTERED
from seats_ops.operators.stage_checks import name_of
from seats_ops.validation import describe

S = TypeVar("S", bound="Stored")


OURS: dict[str, type] = {}


class Stored:
    """A frozen dataclass whose settings are stored one by one, those of a subclass too."""

    def __init_subclass__(cls) -> None:
        if cls.__module__.startswith("seats_ops."):
            OURS[cls.__name__] = cls
            REGISTERED.add(cls)

    def to_dict(self) -> dict[str, Any]:
        """JSON form: the settings by name, and the class as "type"; see `Schedule.from_dict`."""
        settings: Any = fields(self)  # type: ignore[arg-type]
        return {"type": type(self).__name__} | {item.name: _plain(getattr(self, item.name)) for item in settings}

    @classmethod
    def from_dict(cls: type[S], data: Mapping[str, Any]) -> S:
        """Inverse of `to_dict`; a setting that has a default may be left out."""
        settings: Any = fields(cls)  # type: ignore[arg-type]
        unknown = set(data) - {item.name for item in settings} - {"type"}
        if unknown:
            expected = ", ".join(item.name for item in settings)
            raise ValueError(f"{cls.__name__}: expected the entries {expected}, got {', '.join(sorted(unknown))} too")
        given = [item.name for item in settings if item.name in data or item.default is item.default_factory is MISSING]
        return cls(**{name: nested(data[name], REGISTERED) for name in given})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    # Selectors are not called; a function is, and has no to_dict, of which the error tells.
    return to_dict(value) if callable(value) or hasattr(value, "to_dict") else value


def to_dict(value: Any) -> dict[str, Any]:
    """What a stage or an allocator says of itself, with the name of its class.

    Raises:
        TypeError: it does not say, or not in a mapping.
        ValueError: it calls itself by another name than its class, or its class has the name of one of ours.
    """
    name, said = name_of(value), getattr(value, "to_dict", None)
    if not callable(said):
        raise TypeError(f"{name}: expected a to_dict, so that it can be stored, got none")
    if OURS.get(type(value).__name__, type(value)) is not type(value):
        raise ValueError(f"{name}: expected a class of another name than those of seats_ops, so that it can be stored")
    settings = said()
    if not isinstance(settings, Mapping):
        raise TypeError(f"{name}.to_dict: expected a mapping, got {describe(settings)}")
    if settings.get("type", type(value).__name__) != type(value).__name__:
        raise ValueError(f"{name}.to_dict: expected type {type(value).__name__!r} or none, got {settings['type']!r}")
    return {"type": type(value).__name__, **settings}


def from_dict(data: Any, known: Mapping[str, Any]) -> Any:
    """Inverse of `to_dict`.

    Raises:
        TypeError: not a mapping. ValueError: a type that is not among `known`, an entry that is missing.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"data: expected a mapping with an entry type, got {describe(data)}")
    name = str(data.get("type"))
    if name not in known:
        raise ValueError(f"type: expected one of {tuple(known)}, got {name!r}; give classes of your own as types")
    try:
        kind = known[name]
        # Others read what they hold themselves.
        ours = isinstance(kind, type) and issubclass(kind, Stored)
        return kind.from_dict({key: nested(value, known) for key, value in data.items()} if ours else data)
    except KeyError as missing:
        raise ValueError(f"{name}: expected an entry {missing}, got {sorted(data)}") from None


def nested(value: Any, known: Mapping[str, Any]) -> Any:
    """A setting in which stages and their parts are stored in turn, read back where their type is known."""
    if isinstance(value, Mapping) and "type" in value:
        return from_dict(value, known)
    if isinstance(value, (list, tuple)):
        return [nested(item, known) for item in value]
    return value


def classes_by_name(types: Iterable[Any]) -> Mapping[str, Any]:
    """Registered classes, and more that can be read back, by name.

    Raises:
        TypeError: not a class, or one without `from_dict`. ValueError: two of one name.
    """
    found: dict[str, Any] = {}
    for kind in types:
        read: Callable[..., Any] | None = getattr(kind, "from_dict", None)
        if not isinstance(kind, type) or not callable(read):
            raise TypeError(f"types: expected classes with from_dict, got {describe(kind)}")
        name = kind.__name__
        if found.setdefault(name, kind) is not kind or REGISTERED.get(name, kind) is not kind:
            raise ValueError(f"types: expected classes of different names, got {name} twice")
    return ChainMap(found, REGISTERED)  # type: ignore[arg-type]
