"""Batches in loops written by hand: masks and positions of later tokens, padded questions, caches that hold padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import UnsupportedModelState
from seats_ops.integrations import attach
from tests.integrations import probes
from tests.integrations.agreement import TOLERANCE, next_in_generate
from tests.integrations.batching import answers, batch_of, converse, rows_of
from tests.integrations.models import small_thinker
from tests.integrations.prompts import Audio, Text, Video, build_prompt
from tests.integrations.schedules import SCHEDULES

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


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_cache_that_holds_padding_is_of_no_use_outside(thinker: nn.Module, kv_policy: str, name: str) -> None:
    """Nobody would mask the padding there. The refusal leaves the cache as it was."""
    rows, schedule = rows_of(thinker.config, "separate"), SCHEDULES[name](thinker.config)
    batch = batch_of(rows)
    mask = torch.cat([batch["attention_mask"], torch.ones(4, 1, dtype=torch.long)], 1)
    later = {"input_ids": torch.full((4, 1), 5), "attention_mask": mask, "position_ids": torch.full((3, 4, 1), 99)}
    with attach(thinker, schedule, kv_policy=kv_policy):
        expected = thinker(**later, past_key_values=thinker(**batch, use_cache=True).past_key_values).logits
        cache = thinker(**batch, use_cache=True).past_key_values
    lengths = probes.physical_lengths(cache)
    with pytest.raises(UnsupportedModelState, match=r"past_key_values.*attach"):
        thinker(**later, past_key_values=cache)
    assert probes.physical_lengths(cache) == lengths
    with attach(thinker, SCHEDULES["only_audio_dropped"](thinker.config)):
        assert torch.equal(thinker(**later, past_key_values=cache).logits, expected)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa"])
def test_a_batch_without_padding_goes_on_outside(thinker: nn.Module) -> None:
    rows = [build_prompt(thinker.config, Text(6), Video((5, 4, 6)), Text(4), seed=seed) for seed in (1, 2)]
    batch = batch_of(rows)
    with attach(thinker, SCHEDULES["before_the_last_layer"](thinker.config)):
        cache = thinker(**batch, use_cache=True).past_key_values
        expected = thinker(input_ids=torch.tensor([[5], [6]]), past_key_values=cache).logits
        cache = thinker(**batch, use_cache=True).past_key_values
    got = thinker(input_ids=torch.tensor([[5], [6]]), past_key_values=cache).logits
    assert (got - expected).abs().max() < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("name", ["preset", "before_the_last_layer"])
def test_cropping_into_a_pruned_prompt_is_refused(kv_policy: str, name: str) -> None:
    """What was dropped behind the cut is not remembered. No layer is cropped, also none that dropped nothing."""
    thinker = small_thinker()
    schedule = SCHEDULES[name](thinker.config)
    with attach(thinker, schedule, kv_policy=kv_policy):
        cache = thinker(**rows_of(thinker.config, "separate")[0], use_cache=True).past_key_values
        probes.decode(thinker, torch.tensor([3, 4]), cache, 1)
    lengths = probes.physical_lengths(cache)
    with pytest.raises(UnsupportedModelState, match="tokens_to_remove"):
        cache.crop(-3)
    assert probes.physical_lengths(cache) == lengths
    cache.crop(-2)
    assert probes.physical_lengths(cache) == [length - 2 for length in lengths]


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa"])
def test_a_mask_of_another_length_is_refused(thinker: nn.Module) -> None:
    batch = batch_of(rows_of(thinker.config, "separate"))
    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        cache = thinker(**batch, use_cache=True).past_key_values
        short = torch.ones(4, sum(batch["input_ids"].shape[1:]) - 1, dtype=torch.long)
        with pytest.raises(ValueError, match="attention_mask"):
            thinker(
                input_ids=torch.full((4, 1), 5),
                attention_mask=short,
                position_ids=torch.full((3, 4, 1), 99),
                past_key_values=cache,
            )
