"""Which launch table a device follows: that of its kind, with what a file of the user's says otherwise.

The environment variable SEATS_OPS_TILES names the file, as `python -m benchmarks tune` writes it. It is read at the
first launch on a device, checked whole, and refused by an error; nothing in it is passed over.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from seats_ops.ops.tile_grid import changed, grid_of
from seats_ops.ops.tiles import DEFAULT, OVERRIDES, Table

VARIABLE = "SEATS_OPS_TILES"
FORMAT = 1
FIELDS = ("format", "device", "rehearsed", "tiles", "made_with", "measured")

_held: list[Table] = []


def table_of(kind: str) -> Table:
    """The table of a kind of device, "sm_90", "gfx942"; the default for a kind that nobody has tuned."""
    return {**DEFAULT, **OVERRIDES.get(kind, {})}


def tiles(device: torch.device) -> Table:
    """The table that launches on `device` follow; the default anywhere but on a CUDA or HIP device.

    Raises:
        ValueError, RuntimeError: the user's file, see `read`.
    """
    if _held:
        return _held[-1]
    return DEFAULT if device.type != "cuda" else _of_gpu(device, os.environ.get(VARIABLE, ""))


@functools.cache
def _of_gpu(device: torch.device, file: str) -> Table:
    kind, name = device_kind(device), torch.cuda.get_device_name(device)
    return read(Path(file), kind, name) if file else table_of(kind)


def device_kind(device: torch.device) -> str:
    """What a CUDA or HIP device compiles for, "sm_90" or "gfx942"."""
    if torch.version.hip:
        return str(torch.cuda.get_device_properties(device).gcnArchName).partition(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


@contextlib.contextmanager
def hold_tiles(table: Table) -> Iterator[None]:
    """Launches inside the block follow `table`, on every device; for measuring and tests, of one thread."""
    _held.append(table)
    try:
        yield
    finally:
        _held.pop()


def read(file: Path, kind: str, name: str) -> Table:
    """The table of a device of this kind and name, with the entries of a tuned file.

    Raises:
        ValueError: no such file, no JSON, another format, an unknown entry or field, a value outside of its grid.
        RuntimeError: a file of another device, or of a rehearsal, whose times mean nothing.

    Warns:
        UserWarning: the file was made with other kernels than these.
    """
    try:
        written = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        # Without the path, which is nobody's business in a bug report.
        why = (isinstance(error, OSError) and error.strerror) or error
        raise ValueError(f"{VARIABLE}: expected a JSON file of `benchmarks tune`, got {file.name}: {why}") from error
    where = f"{VARIABLE} ({file.name})"
    found = written.get("format") if isinstance(written, dict) else type(written).__name__
    if type(found) is not int or found != FORMAT:
        raise ValueError(f"{where}: expected format {FORMAT}, got {found!r}")
    _expect_among(f"{where}: field", written, FIELDS)
    if written.get("rehearsed") is not False:
        raise RuntimeError(f"{where}: expected rehearsed: false, got {written.get('rehearsed')!r}: no device was timed")
    made_with = _mapping(f"{where}: made_with", written.get("made_with", {}))
    if made_with.get("kernels") != kernels():
        warnings.warn(
            f"{where}: expected a table made with the kernels of this version ({kernels()}), got one of "
            f"{made_with.get('kernels')}: what was fastest then need not be now; `benchmarks tune` makes it anew",
            stacklevel=2,
        )
    device = {"kind": kind, "name": name}
    if written.get("device") != device:
        raise RuntimeError(f"{where}: expected the table of {device}, got that of {written.get('device')!r}")
    table = dict(table_of(kind))
    entries = _mapping(f"{where}: tiles", written.get("tiles"))
    _expect_among(f"{where}: kernel", entries, table)
    for entry, values in entries.items():
        table[entry] = changed(table[entry], _checked(f"{where}: {entry}", entry, values))
    return table


@functools.cache
def kernels() -> str:
    """Twelve digits of the SHA-256 of the sources of all kernels."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        text = file.read_bytes()
        if b"\n@triton.jit" in text:
            digest.update(text)
    return digest.hexdigest()[:12]


def _checked(where: str, entry: str, values: object) -> dict[str, Any]:
    grid, mapping = grid_of(entry), _mapping(where, values)
    _expect_among(f"{where}: field", mapping, grid)
    for field, value in mapping.items():
        # True is 1 in a tuple, and no size.
        if type(value) is not int or value not in grid[field]:
            raise ValueError(f"{where}: {field}: expected one of {grid[field]}, got {value!r}")
    return mapping


def _mapping(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object of names and values, got {value!r}")
    return value


def _expect_among(what: str, found: Any, known: Any) -> None:
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise ValueError(f"{what}: expected one of {', '.join(known)}, got {', '.join(unknown)}")
