"""pytest plugin of a rehearsal: the tests of a device walk their paths on the stand-in, by references."""

from __future__ import annotations

import contextlib

import pytest
import torch

from benchmarks.gpu.strict_cuda import strict_cuda

LEFT_OUT = ("long", "every_run_gives_the_same", "out_of_range")
_open = contextlib.ExitStack()


def pytest_configure() -> None:
    _open.enter_context(strict_cuda())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """References stand in for kernels: a second dtype, a long segment or a second run walks no other path."""
    left_out = [item for item in items if not walked(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if walked(item)]


def walked(item: pytest.Item) -> bool:
    """Whether a rehearsal runs it: not what values out of range do, either; on the CPU they are refused."""
    case = getattr(item, "callspec", None)
    dtype = case.params.get("dtype") if case else None
    return dtype in (None, torch.float32) and not any(part in item.name for part in LEFT_OUT)


def pytest_unconfigure() -> None:
    _open.close()
