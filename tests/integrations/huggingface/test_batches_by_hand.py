"""Batches in loops written by hand: masks and positions of later tokens, questions that are padded themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from seats_ops.integrations import attach
from tests.integrations.huggingface.agreement import TOLERANCE, next_in_generate
from tests.integrations.huggingface.batching import answers, batch_of, converse, rows_of
from tests.integrations.huggingface.prompts import Audio, Text, Video, build_prompt
from tests.integrations.huggingface.schedules import SCHEDULES

NAMES = ["preset", "droppers_at_odd_layers", "pruners_only"]
# A first question for every row, then one token each, then another question, padded differently.
TURNS = [[[5], [6], [7], [8]], [[21, 150, 33], [7], [250, 4], [9, 9, 9]], [[11], [12], [13], [14]], [[1, 2], [3]] * 2]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_later_turns_of_a_batch(thinker: nn.Module, kv_policy: str, side: str, name: str) -> None:
    rows, schedule = rows_of(thinker.config, "interleaved"), SCHEDULES[name](thinker.config)
    starts = [next_in_generate(thinker, row) for row in rows]
    expected = []
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        with attach(thinker, schedule, kv_policy=kv_policy):
            expected.append(converse(thinker, row, [start], [[turn[i]] for turn in TURNS]))
    with attach(thinker, schedule, kv_policy=kv_policy):
        got = converse(thinker, batch_of(rows, side), starts, TURNS)
    assert (got - torch.cat(expected)).abs().max() < TOLERANCE


def prompts_of_one_length(config: Any) -> list[dict[str, Any]]:
    """No padding before any stage, and different numbers of survivors after it."""
    kinds = ([Video((6, 4, 6))], [Audio(231)], [Video((3, 4, 8)), Text(2), Audio(90)])
    lengths = [build_prompt(config, *parts)["input_ids"].shape[1] for parts in kinds]
    return [
        build_prompt(config, Text(90 - length), *parts, Text(6), seed=seed)
        for seed, (parts, length) in enumerate(zip(kinds, lengths, strict=True))
    ]


@pytest.mark.parametrize("name", NAMES)
def test_padding_that_only_pruning_makes(thinker: nn.Module, kv_policy: str, name: str) -> None:
    """`generate` drops a mask of ones and a loop may do without, but the survivors differ in number."""
    rows, schedule = prompts_of_one_length(thinker.config), SCHEDULES[name](thinker.config)
    batch = batch_of(rows)
    assert batch["attention_mask"].all()
    bare = {name: value for name, value in batch.items() if name != "attention_mask"}
    for given in (batch, bare):
        expected = []
        for i, row in enumerate(rows):
            alone = row if given is batch else {k: v for k, v in row.items() if k != "attention_mask"}
            with attach(thinker, schedule, kv_policy=kv_policy) as trace:
                expected.append(answers(thinker, alone, 4))
                assert len(trace.stages[-1].kept_indices[0]) < 96, i
        with attach(thinker, schedule, kv_policy=kv_policy) as trace:
            ids, logits = answers(thinker, given, 4)
        assert len({len(columns) for columns in trace.stages[-1].kept_indices}) > 1
        assert torch.equal(ids, torch.cat([single for single, _ in expected]))
        assert (logits - torch.cat([single for _, single in expected])).abs().max() < TOLERANCE
