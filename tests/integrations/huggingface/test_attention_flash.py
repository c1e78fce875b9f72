"""FlashAttention-2: transformers' own path with a stand-in for the kernels, against fused attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from seats_ops.integrations import attach
from tests.integrations.huggingface import flash_stand_in
from tests.integrations.huggingface.agreement import TOLERANCE, next_in_generate
from tests.integrations.huggingface.batching import (
    alone,
    answers,
    assert_kept_alike,
    assert_rows_alike,
    batch_of,
    converse,
    rows_of,
)
from tests.integrations.huggingface.flash_stand_in import FlashStandIn
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import needs

NAMES = ["preset", "droppers_at_odd_layers", "several_stages_at_one_place"]


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> FlashStandIn:
    return flash_stand_in.install(monkeypatch)


@pytest.fixture
def model(flash: FlashStandIn) -> nn.Module:
    return small_thinker("flash_attention_2")


@pytest.fixture(params=["separate", "interleaved"])
def rows(request: pytest.FixtureRequest, model: nn.Module) -> list[dict[str, Any]]:
    return rows_of(model.config, request.param)


def test_the_stand_in_computes_attention(model: nn.Module, flash: FlashStandIn, rows: list[dict[str, Any]]) -> None:
    batch = batch_of(rows)
    got, expected = answers(model, batch), answers(small_thinker("sdpa"), batch)
    assert torch.equal(got[0], expected[0])
    assert (got[1] - expected[1]).abs().max() < TOLERANCE
    assert len(flash.varlen) == 5 * 7
    assert flash.dense == []


@pytest.mark.parametrize("name", NAMES)
def test_single_prompts(
    model: nn.Module, flash: FlashStandIn, rows: list[dict[str, Any]], kv_policy: str, name: str
) -> None:
    """No call takes the path for packed sequences, which position ids with gaps would lead to."""
    schedule = SCHEDULES[name](model.config)
    expected = alone(small_thinker("sdpa"), rows[:1] + rows[-1:], schedule, kv_policy=kv_policy)
    for row, single in zip(rows[:1] + rows[-1:], expected, strict=True):
        flash.dense.clear()
        with attach(model, schedule, kv_policy=kv_policy) as trace:
            ids, logits = answers(model, row)
        assert_kept_alike(trace, row, [single])
        assert_rows_alike(ids, logits, [single])
        assert flash.varlen == []
        assert flash.dense[7:14] == [(1, 1, length + 1) for length in trace.kv_lengths]


@pytest.mark.parametrize("name", NAMES)
def test_padded_batches(
    model: nn.Module, flash: FlashStandIn, rows: list[dict[str, Any]], kv_policy: str, name: str
) -> None:
    """Only what is no padding reaches the kernel, in the prefill and later."""
    schedule = SCHEDULES[name](model.config)
    expected = alone(small_thinker("sdpa"), rows, schedule, kv_policy=kv_policy)
    batch = batch_of(rows)
    with attach(model, schedule, kv_policy=kv_policy) as trace:
        ids, logits = answers(model, batch)
    assert_kept_alike(trace, batch, expected)
    assert_rows_alike(ids, logits, expected)
    survivors = [len(columns) for columns in trace.stages[-1].kept_indices]
    assert flash.varlen[6] == (survivors, survivors)
    assert flash.varlen[13] == ([1] * 4, [length + 1 for length in survivors])


@pytest.mark.parametrize("side", ["left", "right"])
def test_later_turns_of_several_tokens(model: nn.Module, rows: list[dict[str, Any]], kv_policy: str, side: str) -> None:
    schedule = SCHEDULES["preset"](model.config)
    turns = [[[5], [6], [7], [8]], [[21, 150, 33], [7], [250, 4], [9, 9, 9]], [[11], [12], [13], [14]]]
    starts = [next_in_generate(model, row) for row in rows]
    fused = small_thinker("sdpa")
    for few in ([0], [0, 1, 2, 3]):
        batch = batch_of([rows[i] for i in few], side)
        turns_of_few = [[turn[i] for i in few] for turn in turns]
        told = []
        for which in (model, fused):
            with attach(which, schedule, kv_policy=kv_policy):
                told.append(converse(which, batch, [starts[i] for i in few], turns_of_few))
        assert (told[0] - told[1]).abs().max() < TOLERANCE


@needs("copies of media")
def test_beams(model: nn.Module, kv_policy: str) -> None:
    batch = batch_of(rows_of(model.config, "interleaved")[:3])
    found = []
    for which in (model, small_thinker("sdpa")):
        with attach(which, SCHEDULES["preset"](model.config), kv_policy=kv_policy):
            found.append(which.generate(**batch, num_beams=3, max_new_tokens=4, do_sample=False))
    assert torch.equal(*found)
