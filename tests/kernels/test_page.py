"""The kernels page says what the recorded files and the launch table say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("nothing is compiled here", allow_module_level=True)

from seats_ops.ops.attention_received.tiles import shared_memory_need
from seats_ops.ops.tiles import DEFAULT
from tests.kernels.page import resources, versions

PAGE = (Path(__file__).parents[2] / "docs" / "kernels.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", [resources, versions])
def test_tables_are_those_of_the_files(table: object) -> None:
    assert callable(table)
    assert "\n".join(table()) in PAGE, "run `python -m tests.kernels.page`"


def test_shared_memory_is_that_of_the_launch_table() -> None:
    dims = (64, 128, 256, 512, 1024)
    needs = [[shared_memory_need(DEFAULT, dtype, dim) for dtype in (torch.float32, torch.bfloat16)] for dim in dims]
    cells = " | ".join(f"{float32:,} / {bfloat16:,}" for float32, bfloat16 in needs)
    assert f"| head_dim | {' | '.join(map(str, dims))} |" in PAGE and f"| bytes | {cells} |" in PAGE
