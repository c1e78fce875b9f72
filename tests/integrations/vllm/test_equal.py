"""The engine's prompts, kept tokens, answers and log probabilities are the adapter's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("vllm")

from tests.integrations.vllm.agreement import check
from tests.integrations.vllm.cases import CASES, pairs
from tests.integrations.vllm.engines import answers, model_of

ENDS_WITH_RUNS = {"text", "video", "sound", "sound in video", "another sound", "longer sound", "images"}
ENDS_WITH_RUNS |= {"two videos and a sound"}


@pytest.mark.parametrize(("schedule", "name"), pairs())
def test_answer(schedule: str, name: str, started: Callable[..., Any], references: dict[str, dict[str, Any]]) -> None:
    llm, expected = started(schedule), references[schedule][name]
    model = model_of(llm)
    kept: dict[str, list[int]] = {"video": [], "audio": [], "image": []}
    before = dict.fromkeys(kept, 0)
    choose = type(model).chosen

    def recorded(unit: Any, items: Any) -> Any:
        found = choose(model, unit, items)
        for item, columns in zip(unit.items, unit.columns(), strict=True):
            modality = item.modality.name.lower()
            stays = torch.isin(columns, found.index).nonzero().squeeze(1)
            kept[modality] += (stays + before[modality]).tolist()
            before[modality] += item.num_tokens
        return found

    llm.reset_mm_cache()
    llm.llm_engine.reset_encoder_cache()
    model.chosen = recorded
    try:
        (got,) = answers(llm, [CASES[name]])
    finally:
        del model.chosen
    check(got, expected)
    assert kept == expected["kept"]
    # Where a group of tokens that share a number reaches over the end of a chunk, nobody knows beforehand whose
    # placeholders come first; what stands behind them is in the adapter's order.
    assert sorted(got["prompt"]) == sorted(expected["prompt"])
    if schedule == "all kept" or (name in ENDS_WITH_RUNS and schedule in ("unweighted", "weighted")):
        assert got["prompt"] == expected["prompt"]
