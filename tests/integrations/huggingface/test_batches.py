"""A row of a batch keeps and answers what it keeps and answers alone, however the others are made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers.cache_utils import DynamicLayer

from seats_ops import DiversitySelector, Schedule, StagePruner
from seats_ops.integrations import attach
from tests.integrations.huggingface.batching import (
    PROMPTS,
    alone,
    answers,
    assert_kept_alike,
    assert_rows_alike,
    batch_of,
    rows_of,
)
from tests.integrations.huggingface.clear_choices import recorded_gaps
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import cache_of

CLEAR = 1e-5  # padded attention is off by up to 5e-7 from unpadded


@pytest.fixture(params=PROMPTS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("attention", ["sdpa"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_prompts_leave_no_doubt(thinker: nn.Module, kind: str, name: str) -> None:
    """What the other tests here rest on: no choice is so close that rounding could turn it."""
    with torch.no_grad(), recorded_gaps(CLEAR / 2) as gaps, attach(thinker, SCHEDULES[name](thinker.config)) as trace:
        for row in rows_of(thinker.config, kind):
            thinker(**row)
    scored = sum(stage.name != "ModalityDropper" for stage in trace.stages)
    assert len(gaps) == 4 * scored
    assert min(gaps, default=1.0) > CLEAR


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("attention", "kv_policy"), [("sdpa", "uniform"), ("eager", "per-layer")])
def test_every_schedule(thinker: nn.Module, kv_policy: str, kind: str, name: str) -> None:
    assert_batch_agrees(thinker, kind, name, kv_policy)


@pytest.mark.parametrize(("attention", "kv_policy"), [("eager", "uniform"), ("sdpa", "per-layer")])
def test_the_preset(thinker: nn.Module, kv_policy: str, kind: str) -> None:
    assert_batch_agrees(thinker, kind, "preset", kv_policy)


def assert_batch_agrees(thinker: nn.Module, kind: str, name: str, kv_policy: str) -> None:
    schedule, rows = SCHEDULES[name](thinker.config), rows_of(thinker.config, kind)
    expected = alone(thinker, rows, schedule, kv_policy=kv_policy)
    assert len({len(single.kept[-1]) for single in expected}) > 1
    left, right = batch_of(rows), batch_of(rows, "right")
    with attach(thinker, schedule, kv_policy=kv_policy) as trace:
        ids, logits = answers(thinker, left)
        assert_kept_alike(trace, left, expected)
        assert trace.prompt_lengths == [row["input_ids"].shape[1] for row in rows]
        assert trace.stages[-1].num_tokens == sum(len(columns) for columns in trace.stages[-1].kept_indices)
    assert_rows_alike(ids, logits, expected)
    for batch in (left, right):
        with torch.no_grad(), attach(thinker, schedule, kv_policy=kv_policy) as trace:
            logits = thinker(**batch).logits[:, -1:]
        assert_kept_alike(trace, batch, expected)
        assert_rows_alike(logits.argmax(-1), logits, expected)


@pytest.mark.parametrize("attention", ["sdpa"])
def test_more_rows_than_one_would_count(thinker: nn.Module) -> None:
    rows = rows_of(thinker.config, "separate") * 5
    schedule = SCHEDULES["preset"](thinker.config)
    expected = alone(thinker, rows[:4], schedule, 2) * 5
    batch = batch_of(rows)
    with attach(thinker, schedule) as trace:
        ids, logits = answers(thinker, batch, 2)
    assert_kept_alike(trace, batch, expected)
    assert_rows_alike(ids, logits, expected)


@pytest.mark.parametrize("attention", ["sdpa"])
def test_a_row_keeps_its_answer_whoever_stands_beside_it(thinker: nn.Module) -> None:
    """Twice the same rows in another order, and a single row of a batch."""
    rows: list[dict[str, Any]] = rows_of(thinker.config, "interleaved")
    schedule = SCHEDULES["preset"](thinker.config)
    expected = alone(thinker, rows, schedule, 3)
    for order in ([3, 0, 2, 1], [1, 1, 1], [2]):
        batch = batch_of([rows[i] for i in order])
        with attach(thinker, schedule) as trace:
            ids, logits = answers(thinker, batch, 3)
        assert_kept_alike(trace, batch, [expected[i] for i in order])
        assert_rows_alike(ids, logits, [expected[i] for i in order])


@pytest.mark.parametrize("side", ["left", "right"])
def test_keeping_everything_changes_no_bit_of_a_padded_batch(
    thinker: nn.Module, kv_policy: str, kind: str, side: str
) -> None:
    """Padding is only taken out where something is dropped."""
    batch = batch_of(rows_of(thinker.config, kind), side)
    keeping = Schedule(before_llm=DiversitySelector(1.0), after_layer={2: StagePruner(1.0)})
    with torch.no_grad():
        untouched = thinker(**batch)
        with attach(thinker, keeping, kv_policy=kv_policy) as trace:
            kept = thinker(**batch)
    assert torch.equal(kept.logits, untouched.logits)
    assert {type(layer) for layer in cache_of(kept).layers} == {DynamicLayer}
    for stage in trace.stages:
        columns = [row.nonzero()[:, 0].tolist() for row in batch["attention_mask"]]
        assert [kept.tolist() for kept in stage.kept_indices] == columns
