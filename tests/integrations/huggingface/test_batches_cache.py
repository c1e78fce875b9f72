"""Caches of pruned batches: what they refuse, and rows that are chosen, repeated or copied."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops import UnsupportedModelState
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.agreement import TOLERANCE
from tests.integrations.huggingface.batching import batch_of, rows_of
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.prompts import Text, Video, build_prompt
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import CACHE, cache_of

NAMES = ["preset", "droppers_at_odd_layers", "pruners_only"]


def step(thinker: nn.Module, cache: Any, mask: Tensor) -> Tensor:
    """Logits [B, vocab] of one more token in every row; `mask` is that of the prompts, and everything after counts."""
    later = torch.ones(len(mask), cache.get_seq_length() + 1 - mask.shape[1], dtype=torch.long)
    return thinker(
        input_ids=torch.full((len(mask), 1), 5),
        attention_mask=torch.cat([mask, later], 1),
        position_ids=torch.full((3, len(mask), 1), 99),
        **{CACHE: cache},
    ).logits[:, -1]


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_rows_may_be_chosen_repeated_and_copied(thinker: nn.Module, kv_policy: str, name: str) -> None:
    """Padding moves along with the keys."""
    batch = batch_of(rows_of(thinker.config, "interleaved"))
    mask = batch["attention_mask"]
    with attach(thinker, SCHEDULES[name](thinker.config), kv_policy=kv_policy):
        cache = cache_of(thinker(**batch, use_cache=True))
        copied, chosen, repeated, ordered = (copy.deepcopy(cache) for _ in range(4))
        expected = step(thinker, cache, mask)
        assert torch.equal(step(thinker, copied, mask), expected)
        few, twice = torch.tensor([2, 0]), torch.arange(4).repeat_interleave(2)
        chosen.batch_select_indices(few)
        assert (step(thinker, chosen, mask[few]) - expected[few]).abs().max() < TOLERANCE
        repeated.batch_repeat_interleave(2)
        assert (step(thinker, repeated, mask[twice]) - expected[twice]).abs().max() < TOLERANCE
        order = torch.tensor([3, 3, 1, 0])
        ordered.reorder_cache(order)
        assert (step(thinker, ordered, mask[order]) - expected[order]).abs().max() < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_cache_that_holds_padding_is_of_no_use_outside(thinker: nn.Module, kv_policy: str, name: str) -> None:
    """Nobody would mask the padding there. The refusal leaves the cache as it was."""
    rows, schedule = rows_of(thinker.config, "separate"), SCHEDULES[name](thinker.config)
    batch = batch_of(rows)
    mask = batch["attention_mask"]
    with attach(thinker, schedule, kv_policy=kv_policy):
        expected = step(thinker, cache_of(thinker(**batch, use_cache=True)), mask)
        cache = cache_of(thinker(**batch, use_cache=True))
    lengths = probes.physical_lengths(cache)
    with pytest.raises(UnsupportedModelState, match=f"{CACHE}.*attach"):
        step(thinker, cache, mask)
    assert probes.physical_lengths(cache) == lengths
    with attach(thinker, SCHEDULES["only_audio_dropped"](thinker.config)):
        assert torch.equal(step(thinker, cache, mask), expected)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa"])
def test_a_batch_without_padding_goes_on_outside(thinker: nn.Module) -> None:
    rows = [build_prompt(thinker.config, Text(6), Video((5, 4, 6)), Text(4), seed=seed) for seed in (1, 2)]
    batch = batch_of(rows)
    with attach(thinker, SCHEDULES["before_the_last_layer"](thinker.config)):
        cache = cache_of(thinker(**batch, use_cache=True))
        expected = thinker(input_ids=torch.tensor([[5], [6]]), **{CACHE: cache}).logits
        cache = cache_of(thinker(**batch, use_cache=True))
    got = thinker(input_ids=torch.tensor([[5], [6]]), **{CACHE: cache}).logits
    assert (got - expected).abs().max() < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("name", ["preset", "before_the_last_layer"])
def test_cropping_into_a_pruned_prompt_is_refused(kv_policy: str, name: str) -> None:
    """What was dropped behind the cut is not remembered. No layer is cropped, also none that dropped nothing."""
    thinker = small_thinker()
    schedule = SCHEDULES[name](thinker.config)
    with attach(thinker, schedule, kv_policy=kv_policy):
        cache = cache_of(thinker(**rows_of(thinker.config, "separate")[0], use_cache=True))
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
        cache = cache_of(thinker(**batch, use_cache=True))
        short = torch.ones(4, sum(batch["input_ids"].shape[1:]) - 1, dtype=torch.long)
        with pytest.raises(ValueError, match="attention_mask"):
            thinker(
                input_ids=torch.full((4, 1), 5),
                attention_mask=short,
                position_ids=torch.full((3, 4, 1), 99),
                **{CACHE: cache},
            )
