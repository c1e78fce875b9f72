"""A compiled engine answers as the adapter does: all kinds of media in one batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

from tests.integrations.vllm.agreement import check
from tests.integrations.vllm.cases import CASES, SCHEDULES
from tests.integrations.vllm.engines import answers, close, engine


@pytest.mark.parametrize("schedule", ["weighted", "unweighted"])
def test_a_compiled_decoder_answers_the_same(
    schedule: str, checkpoint: Path, references: dict[str, dict[str, Any]]
) -> None:
    cases = {name: CASES[name] for name in references[schedule]}
    llm = engine(checkpoint, SCHEDULES[schedule], enforce_eager=False)
    try:
        assert llm.llm_engine.vllm_config.compilation_config.mode.name != "NONE"
        found = answers(llm, list(cases.values()))
    finally:
        close(llm)
    for name, got in zip(cases, found, strict=True):
        check(got, references[schedule][name])
