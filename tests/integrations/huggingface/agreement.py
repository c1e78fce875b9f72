"""Comparing answers of a pruned model with the full-length oracle."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.integrations.huggingface.oracle import KeptSets, oracle_logits, prompt_positions
from tests.integrations.huggingface.probes import Answer

TOLERANCE = 2e-5  # logits reach about 5


def assert_agrees(
    pristine: nn.Module,
    inputs: dict[str, Any],
    kept: KeptSets,
    kv_policy: str,
    answers: list[Answer],
    fed: list[int],
    positions: list[int],
) -> None:
    """One or two turns: the model was `fed` these tokens after the prompt, and the last answer ends where they end."""
    logits = oracle_logits(pristine, inputs, kept, kv_policy, fed, positions)
    starts = (inputs["input_ids"].shape[1] - 1, len(logits) - len(answers[-1].ids))
    for turn, (start, answer) in enumerate(zip(starts, answers, strict=False), start=1):
        expected = logits[start : start + len(answer.ids)]
        assert (answer.logits - expected).abs().max() < TOLERANCE, f"turn {turn}"
        assert answer.ids == expected.argmax(-1).tolist(), f"turn {turn}"


def next_in_generate(model: nn.Module, inputs: dict[str, Any]) -> int:
    """`generate` continues from the position of the last column."""
    return int(prompt_positions(model, inputs)[0, -1]) + 1


def next_in_forward(model: nn.Module, inputs: dict[str, Any]) -> int:
    """A forward with a cache continues from the largest position: more where sound ends before its picture."""
    return int(prompt_positions(model, inputs).max()) + 1
