"""Qwen2.5-VL and Qwen3-VL in the engine: answers are the adapter's, and faults show."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

pytest.importorskip("vllm")

from tests.integrations.vllm.agreement import CLOSE, check, gap
from tests.integrations.vllm.cases_vl import NAMES, cases, pairs
from tests.integrations.vllm.checkpoint_vl import CLASSES
from tests.integrations.vllm.engines import answer_and_kept, answers, forget, model_of
from tests.integrations.vllm.faults import plant
from tests.integrations.vllm.references_vl import path_of

Start = Callable[..., Any]


@cache
def references(family: str) -> dict[str, dict[str, Any]]:
    return json.loads(path_of(family).read_text())


@pytest.mark.parametrize("schedule", dict(pairs()))
@pytest.mark.parametrize("family", CLASSES)
def test_answers(family: str, schedule: str, started_vl: Start) -> None:
    llm = started_vl(family, schedule)
    for name, expected in references(family)[schedule].items():
        got, kept = answer_and_kept(llm, cases(family)[name])
        check(got, expected)
        assert kept == expected["kept"], name
        assert sorted(got["prompt"]) == sorted(expected["prompt"]), name
        # How many tokens of a frame stay is known after the encoder; what stands behind the ids is in the adapter's
        # order.
        if family == "qwen2_5_vl" or schedule == "all kept" or not cases(family)[name].videos:
            assert got["prompt"] == expected["prompt"], name


@pytest.mark.parametrize("family", CLASSES)
def test_faults_show(family: str, started_vl: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = started_vl(family, "weighted")
    faults = ["off by one", "renumbered", "another token"]
    if family == "qwen3_vl":
        faults.append("another token's levels")
    for fault in faults:
        plant(fault, model_of(llm), monkeypatch)
        for name in NAMES[1:]:
            forget(llm)
            (got,) = answers(llm, [cases(family)[name]])
            expected = references(family)["weighted"][name]
            assert len(got["prompt"]) == len(expected["prompt"])
            assert gap(got, expected) > 100 * CLOSE, (fault, name)
        monkeypatch.undo()


@pytest.mark.parametrize("family", CLASSES)
def test_batches_chunks_and_prefixes(family: str, started_vl: Start) -> None:
    llm = started_vl(family, "weighted", max_num_batched_tokens=33, max_num_seqs=4, enable_prefix_caching=True)
    for again in (False, True):
        for name, got in zip(NAMES, answers(llm, list(cases(family).values())), strict=True):
            check(got, references(family)["weighted"][name])
            assert not again or got["cached"] >= 32 * ((len(got["prompt"]) - 1) // 32)
