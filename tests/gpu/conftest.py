"""ttsem (`make ttsem`) runs these tests without a device: it calls tensors on the CPU by the device's name."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def kernels_take_tensors_of_ttsem(monkeypatch: pytest.MonkeyPatch) -> None:
    if "ttsem" in sys.modules:
        monkeypatch.setattr("seats_ops.backend.why_not_triton", lambda primitive, tensor: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """ttsem knows tensors that are arguments; what a kernel finds through a table of addresses it takes for stray."""
    if "ttsem" in sys.modules:
        for item in items:
            if item.name.startswith("test_compact"):
                item.add_marker(pytest.mark.skip(reason="ttsem cannot follow a table of addresses"))
