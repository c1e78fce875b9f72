"""The kernels that the package ships, found by looking."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import seats_ops.ops
from seats_ops.ops.launch import KernelConfig
from seats_ops.ops.tiles import DEFAULT, Table

OPS = Path(seats_ops.ops.__file__).parent


def kernel_modules() -> list[ModuleType]:
    """Every module below `seats_ops.ops` that imports Triton and ships configurations."""
    files = sorted(file for file in OPS.glob("*/*.py") if "\ndef configs(" in file.read_text())
    return [importlib.import_module(f"seats_ops.ops.{file.parent.name}.{file.stem}") for file in files]


def shipped_configs(table: Table = DEFAULT) -> tuple[KernelConfig, ...]:
    """Of all modules, as they are launched under a launch table."""
    return tuple(config for module in kernel_modules() for config in module.configs(table))
