"""Who read and who wrote each element of a buffer during one launch."""

from __future__ import annotations

import numpy as np

NOBODY, SEVERAL = -1, -2


class MemoryFault(AssertionError):
    """An access to global memory that a GPU would punish."""


class Buffer:
    """An address range [start, end) and, per byte at which an element starts, its last writer and its readers."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self._writer: np.ndarray | None = None
        self._reader: np.ndarray | None = None

    def visit(self, addresses: np.ndarray, program: int, kind: str, where: str) -> None:
        """Record one access; `program` is a number that tells programs apart.

        Raises:
            MemoryFault: the access conflicts with an earlier one of the same launch.
        """
        if self._writer is None or self._reader is None:
            self._writer = np.full(self.end - self.start, NOBODY, dtype=np.int32)
            self._reader = self._writer.copy()
        places = addresses - self.start
        writers, readers = self._writer[places], self._reader[places]
        if kind == "load":
            if (writers != NOBODY).any():
                raise MemoryFault(f"{where}: reads {_what(writers)} wrote in the same launch")
            self._reader[places] = np.where((readers == NOBODY) | (readers == program), program, SEVERAL)
        elif kind == "store":
            if (writers != NOBODY).any():
                raise MemoryFault(f"{where}: overwrites {_what(writers)} wrote in the same launch")
            if ((readers != NOBODY) & (readers != program)).any():
                raise MemoryFault(f"{where}: overwrites what another program reads")
            if np.unique(places).size != places.size:
                raise MemoryFault(f"{where}: one store writes a place twice")
            self._writer[places] = program


def _what(writers: np.ndarray) -> str:
    program = int(writers[writers != NOBODY][0])
    return f"what program number {program}"
