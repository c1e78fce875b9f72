"""Tensor parallelism by transformers' own plan: two ranks with half of the heads each select as one device does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.ranks import mean_over_heads, same_on_all_ranks, tensor_parallel_group
from tests.integrations.huggingface.agreement import TOLERANCE
from tests.integrations.huggingface.golden_case import FAMILIES, GoldenCase
from tests.integrations.huggingface.models import golden_thinker
from tests.integrations.huggingface.scale_ranks import POLICIES, run

ROOT = Path(__file__).parents[3]


def torchrun(folder: Path) -> list[dict[Any, Any]]:
    """The results of two ranks."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    worker = ["-m", "tests.integrations.huggingface.scale_ranks", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run([*command, *worker], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-8000:]
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]


def test_two_ranks(golden_dir: Path, tmp_path: Path) -> None:
    ranks = torchrun(tmp_path)
    if "refused" in ranks[0]:
        # Before 5.18 transformers split weights without saying so.
        assert all("expected weights on a device mesh with a dimension 'tp'" in results["refused"] for results in ranks)
        return
    for family in FAMILIES:
        if (family, "fails by itself") in ranks[0]:
            # Experts that are split, in versions before 5.21.
            assert "mixed torch.Tensor and DTensor" in ranks[0][family, "fails by itself"]
            continue
        whole = golden_thinker(golden_dir, "sdpa", family)
        for number in range(4):
            case = GoldenCase.load(golden_dir, number, family)
            expected = run(whole, case, POLICIES[number % 2])
            names = [(family, number), (family, "shaken")] if number == 3 else [(family, number)]
            for name in names:
                for rank, results in enumerate(ranks):
                    assert_same(results[name], expected, f"{name}, rank {rank}")
                assert torch.equal(ranks[0][name]["logits"], ranks[1][name]["logits"]), name
    for results in ranks:
        assert results["group_sizes"] == {
            "('tp',) (2,)": 2,
            "('fsdp',) (2,)": None,
            "('fsdp', 'tp') (1, 2)": 2,
            "('fsdp', 'tp') (2, 1)": None,
        }


def assert_same(got: dict[str, Any], expected: dict[str, Any], what: str) -> None:
    assert 2 * got["heads"] == expected["heads"], what
    assert got["kept"] == expected["kept"], what
    assert got["ids"] == expected["ids"], what
    assert (got["logits"] - expected["logits"]).abs().max() < TOLERANCE, what


def test_nothing_is_sent_without_ranks() -> None:
    scores, keep_mask = torch.rand(5), torch.tensor([True, False])
    assert tensor_parallel_group(nn.Linear(2, 2)) is None
    assert mean_over_heads(scores, nn.Linear(2, 2), 8, 8) is scores
    assert same_on_all_ranks(keep_mask, None) is keep_mask


def test_heads_on_ranks_nobody_knows_of() -> None:
    """The mean over half of the heads would select other tokens on every rank."""
    with pytest.raises(UnsupportedModelState, match="got 4 of 8 heads"):
        mean_over_heads(torch.rand(5), nn.Linear(2, 2), 8, 4)
