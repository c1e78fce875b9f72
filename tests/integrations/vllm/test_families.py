"""Further families in the engine: answers are the adapter's, and faults show."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

pytest.importorskip("vllm")

from tests.integrations.vllm.agreement import CLOSE, check, gap
from tests.integrations.vllm.cases_families import SCHEDULES, cases
from tests.integrations.vllm.checkpoint import IDS
from tests.integrations.vllm.checkpoint_families import CLASSES
from tests.integrations.vllm.engines import answer_and_kept, answers, forget, model_of
from tests.integrations.vllm.faults import plant
from tests.integrations.vllm.references_families import path_of

Start = Callable[..., Any]


@cache
def references(family: str) -> dict[str, dict[str, Any]]:
    return json.loads(path_of(family).read_text())


def start(started_family: Start, family: str, schedule: str) -> Any:
    """An engine; the weighted one runs prompts in chunks that end inside media, and keeps prefixes."""
    chunks = {"max_num_batched_tokens": 33, "max_num_seqs": 4, "enable_prefix_caching": True}
    return started_family(family, schedule, **(chunks if schedule == "weighted" else {}))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("family", CLASSES, scope="module")
def test_answers(family: str, schedule: str, started_family: Start) -> None:
    llm = start(started_family, family, schedule)
    moved = False
    for name, expected in references(family)[schedule].items():
        got, kept = answer_and_kept(llm, cases(family)[name])
        check(got, expected)
        assert kept == expected["kept"], name
        media = (IDS["video"], IDS["audio"])
        texts = [[token for token in each["prompt"] if token not in media] for each in (got, expected)]
        assert texts[0] == texts[1], name
        moved |= got["prompt"] != expected["prompt"]
    # How many tokens of a frame, or before a token of sound, stay is known after the encoder only, so that ids stand in
    # an order of their own; what stands behind them is in the adapter's.
    if schedule != "visionzip":
        assert moved == (family != "qwen2_5_vl")


@pytest.mark.parametrize("family", CLASSES, scope="module")
def test_faults_show(family: str, started_family: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = start(started_family, family, "weighted")
    faults = ["off by one", "renumbered", "another token"]
    if family != "qwen2_5_vl":
        faults.append("another token's levels")
    for fault in faults:
        plant(fault, model_of(llm), monkeypatch)
        for name in ("video", "image", "sound in video")[: 3 if family == "qwen3_omni" else 2]:
            forget(llm)
            (got,) = answers(llm, [cases(family)[name]])
            expected = references(family)["weighted"][name]
            assert len(got["prompt"]) == len(expected["prompt"])
            assert gap(got, expected) > 100 * CLOSE, (fault, name)
        monkeypatch.undo()


@pytest.mark.parametrize("family", CLASSES, scope="module")
def test_batches_and_prefixes(family: str, started_family: Start) -> None:
    llm = start(started_family, family, "weighted")
    forget(llm)
    for again in (False, True):
        for name, got in zip(cases(family), answers(llm, list(cases(family).values())), strict=True):
            check(got, references(family)["weighted"][name])
            assert not again or got["cached"] >= 32 * ((len(got["prompt"]) - 1) // 32)


def test_frames_between_whole_positions_are_refused(started_family: Start) -> None:
    llm = start(started_family, "qwen3_omni", "weighted")
    video = cases("qwen3_omni")["video"]
    with pytest.raises(ValueError, match="whole positions"):
        answers(llm, [replace(video, fps=4.0)])
    check(answers(llm, [video])[0], references("qwen3_omni")["weighted"]["video"])
