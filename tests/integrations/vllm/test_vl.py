"""Qwen2.5-VL and Qwen3-VL in the engine: answers are the adapter's, and faults show."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

pytest.importorskip("vllm")

from tests.integrations.vllm.agreement import CLOSE, check, gap
from tests.integrations.vllm.cases_vl import NAMES, SCHEDULES, cases
from tests.integrations.vllm.checkpoint import IDS
from tests.integrations.vllm.checkpoint_vl import CLASSES
from tests.integrations.vllm.engines import answer_and_kept, answers, forget, model_of
from tests.integrations.vllm.faults import plant
from tests.integrations.vllm.references_vl import path_of

Start = Callable[..., Any]


@cache
def references(family: str) -> dict[str, dict[str, Any]]:
    return json.loads(path_of(family).read_text())


def start(started_vl: Start, family: str, schedule: str) -> Any:
    """An engine; the weighted one runs prompts in chunks that end inside media, and keeps prefixes."""
    chunks = {"max_num_batched_tokens": 33, "max_num_seqs": 4, "enable_prefix_caching": True}
    return started_vl(family, schedule, **(chunks if schedule == "weighted" else {}))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("family", CLASSES, scope="module")
def test_answers(family: str, schedule: str, started_vl: Start) -> None:
    llm = start(started_vl, family, schedule)
    moved = False
    for name, expected in references(family)[schedule].items():
        got, kept = answer_and_kept(llm, cases(family)[name])
        check(got, expected)
        assert kept == expected["kept"], name
        texts = [[token for token in each["prompt"] if token != IDS["video"]] for each in (got, expected)]
        assert texts[0] == texts[1], name
        moved |= got["prompt"] != expected["prompt"]
    # How many tokens of a frame stay is known after the encoder only, so that ids stand in an order of their own; what
    # stands behind them is in the adapter's.
    if schedule != "visionzip":
        assert moved == (family == "qwen3_vl")


@pytest.mark.parametrize("family", CLASSES, scope="module")
def test_faults_show(family: str, started_vl: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = start(started_vl, family, "weighted")
    faults = ["off by one", "renumbered", "another token"]
    if family == "qwen3_vl":
        faults.append("another token's levels")
    for fault in faults:
        plant(fault, model_of(llm), monkeypatch)
        for name in ("video", "image"):
            forget(llm)
            (got,) = answers(llm, [cases(family)[name]])
            expected = references(family)["weighted"][name]
            assert len(got["prompt"]) == len(expected["prompt"])
            assert gap(got, expected) > 100 * CLOSE, (fault, name)
        monkeypatch.undo()


@pytest.mark.parametrize("family", CLASSES, scope="module")
def test_batches_and_prefixes(family: str, started_vl: Start) -> None:
    llm = start(started_vl, family, "weighted")
    forget(llm)
    for again in (False, True):
        for name, got in zip(NAMES, answers(llm, list(cases(family).values())), strict=True):
            check(got, references(family)["weighted"][name])
            assert not again or got["cached"] >= 32 * ((len(got["prompt"]) - 1) // 32)
