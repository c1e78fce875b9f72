"""For every test: the golden numbers' folder, no Hypothesis deadlines, `gpu` tests skipped where there is no device."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# A deadline measures the machine, not the code: the first call of an operator may compile or fill a cache.
# CI repeats the same examples, so that a change is never blamed for an example that it did not cause.
settings.register_profile("seats_ops", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("seats_ops")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The numbers of the authors' implementation; `manifest.json` in it describes every tensor."""
    return Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", type=Path, metavar="FOLDER", help="write the pictures of the docs to this folder")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    no_device = pytest.mark.skip(reason="needs a CUDA device, torch sees none")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(no_device)
