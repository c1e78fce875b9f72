"""pytest plugin of a rehearsal: the tests of a device walk their paths on the stand-in, by references."""

from __future__ import annotations

import contextlib

from benchmarks.gpu.strict_cuda import strict_cuda

_open = contextlib.ExitStack()


def pytest_configure() -> None:
    _open.enter_context(strict_cuda())


def pytest_unconfigure() -> None:
    _open.close()
