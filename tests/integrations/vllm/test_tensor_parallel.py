"""Two ranks with half of the heads each answer as the adapter does, and make one choice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("vllm")

from seats_ops.integrations.vllm import ARCHITECTURES
from tests.integrations.vllm import cases_families
from tests.integrations.vllm.agreement import CLOSE, check, gap
from tests.integrations.vllm.cases import CASES
from tests.integrations.vllm.engines import answer_and_kept, answers, forget
from tests.integrations.vllm.references_families import path_of
from tests.integrations.vllm.workers import average, choose_alike, choose_apart, process

Start = Callable[..., Any]
References = dict[str, dict[str, Any]]
RANKS = {"tensor_parallel_size": 2, "distributed_executor_backend": "mp"}
CHUNKS = {"max_num_batched_tokens": 33, "max_num_seqs": 4, "enable_prefix_caching": True}
SHARED = {"mm_processor_cache_type": "shm", "mm_processor_cache_gb": 0.5}
SHARED_OUT = {"mm_encoder_tp_mode": "data"}
MEDIA = ("video", "sound", "sound in video", "images", "two videos and a sound")


@pytest.fixture(autouse=True)
def workers_import_all_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """They find the plugin by its entry point, as nothing of this process is there."""
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "spawn")


@pytest.mark.parametrize("schedule", ["unweighted", "weighted"])
def test_answers(schedule: str, started: Start, references: References) -> None:
    llm = started(schedule, **RANKS)
    forget(llm)
    for name, got in zip(CASES, answers(llm, list(CASES.values())), strict=True):
        check(got, references[schedule][name])
    for name in MEDIA:
        got, kept = answer_and_kept(llm, CASES[name])
        check(got, references[schedule][name])
        assert got["prompt"] == references[schedule][name]["prompt"]
        assert kept == references[schedule][name]["kept"]


def test_workers_know_the_plugin_by_its_entry_point(started: Start) -> None:
    found = started("weighted", **RANKS).collective_rpc(process)
    assert [rank for rank, _, _ in found] == [0, 1]
    assert len({os.getpid(), *(number for _, number, _ in found)}) == 3
    assert all(sorted(known) == sorted(ARCHITECTURES) for _, _, known in found)


@pytest.mark.parametrize("name", ["video", "sound in video", "images"])
def test_means_over_the_heads_of_one_rank_show(name: str, started: Start, references: References) -> None:
    llm = started("weighted", **RANKS)
    forget(llm)
    llm.collective_rpc(average, args=(False,))
    try:
        (got,) = answers(llm, [CASES[name]])
    finally:
        llm.collective_rpc(average, args=(True,))
    assert len(got["prompt"]) == len(references["weighted"][name]["prompt"])
    assert gap(got, references["weighted"][name]) > 100 * CLOSE
    check(answer_and_kept(llm, CASES[name])[0], references["weighted"][name])


@pytest.mark.parametrize("name", ["video", "sound", "sound in video"])
def test_the_first_rank_chooses_for_all(name: str, started: Start, references: References) -> None:
    llm = started("weighted", **RANKS)
    expected = references["weighted"][name]
    for agree in (True, False):
        forget(llm)
        llm.collective_rpc(choose_apart, args=(agree,))
        try:
            (got,) = answers(llm, [CASES[name]])
        finally:
            llm.collective_rpc(choose_alike)
        if agree:
            check(got, expected)
        else:
            assert gap(got, expected) > 100 * CLOSE


@pytest.mark.parametrize(
    ("family", "schedule", "options"),
    [
        ("qwen2_5_vl", "unweighted", SHARED_OUT),
        ("qwen2_5_vl", "visionzip", {}),
        ("qwen2_5_vl", "weighted", CHUNKS),
        ("qwen3_vl", "unweighted", SHARED_OUT),
        ("qwen3_vl", "weighted", CHUNKS),
        ("qwen3_omni", "unweighted", SHARED),
        ("qwen3_omni", "weighted", CHUNKS),
    ],
)
def test_families(family: str, schedule: str, options: dict[str, Any], started_family: Start) -> None:
    references = json.loads(path_of(family).read_text())[schedule]
    cases = {name: case for name, case in cases_families.cases(family).items() if name in references}
    llm = started_family(family, schedule, **RANKS, **options)
    assert llm.llm_engine.vllm_config.model_config.multimodal_config.mm_encoder_tp_mode == options.get(
        "mm_encoder_tp_mode", "weights"
    )
    if schedule != "visionzip":
        for name, got in zip(cases, answers(llm, list(cases.values())), strict=True):
            check(got, references[name])
    for name in cases:
        got, kept = answer_and_kept(llm, cases[name])
        check(got, references[name])
        assert kept == references[name]["kept"], name
