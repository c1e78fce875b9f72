"""Modules and entry points that are imported only once a name is asked for that nobody has registered yet."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any


def import_modules_of(*packages: str) -> None:
    """Import every module that lies in the packages, so that what they register is known."""
    for name in packages:
        package = import_module(name)
        for module in pkgutil.iter_modules(package.__path__):
            import_module(f"{name}.{module.name}")


def load(point: EntryPoint) -> Any:
    """What an entry point of another package names.

    Raises:
        ImportError: naming the entry point, whatever went wrong in the other package.
    """
    try:
        return point.load()
    except Exception as error:
        raise ImportError(
            f"entry point {point.name!r} of {point.group}: expected {point.value} to be imported, got "
            f"{type(error).__name__}: {error}"
        ) from error


def load_all(group: str) -> list[ImportError]:
    """Load every entry point of a group; what those raise that cannot be loaded."""
    failed = []
    for point in entry_points(group=group):
        try:
            load(point)
        except ImportError as error:
            failed.append(error)
    return failed
