"""The engine's prompts, kept tokens, answers and log probabilities are the adapter's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("vllm")

from tests.integrations.vllm.agreement import check
from tests.integrations.vllm.cases import CASES, pairs
from tests.integrations.vllm.engines import answer_and_kept

ENDS_WITH_RUNS = {"text", "video", "sound", "sound in video", "another sound", "longer sound", "images"}
ENDS_WITH_RUNS |= {"two videos and a sound"}


@pytest.mark.parametrize(("schedule", "name"), pairs())
def test_answer(schedule: str, name: str, started: Callable[..., Any], references: dict[str, dict[str, Any]]) -> None:
    expected = references[schedule][name]
    got, kept = answer_and_kept(started(schedule), CASES[name])
    check(got, expected)
    assert kept == expected["kept"]
    # Where a group of tokens that share a number reaches over the end of a chunk, nobody knows beforehand whose
    # placeholders come first; what stands behind them is in the adapter's order.
    assert sorted(got["prompt"]) == sorted(expected["prompt"])
    if schedule == "all kept" or (name in ENDS_WITH_RUNS and schedule in ("unweighted", "weighted")):
        assert got["prompt"] == expected["prompt"]
