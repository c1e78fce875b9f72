"""The cache after a pruned prefill: it counts the whole prompt, stores only survivors, and outlives the context."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.oracle import oracle_logits, prompt_positions
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import CACHE, cache_of


@pytest.mark.parametrize("name", SCHEDULES)
def test_logical_and_physical_length(thinker: nn.Module, clip: dict[str, Any], kv_policy: str, name: str) -> None:
    with torch.no_grad(), attach(thinker, SCHEDULES[name](thinker.config), kv_policy=kv_policy) as trace:
        cache = cache_of(thinker(**clip, use_cache=True))
        prompt = clip["input_ids"].shape[1]
        kept = probes.kept_sets(trace)
        seen = [
            min([prompt, *(len(columns) for at, columns in kept if at < layer or kv_policy == "uniform")])
            for layer in range(1, 8)
        ]
        assert trace.kv_lengths == seen
        assert probes.physical_lengths(cache) == seen
        assert cache.get_seq_length() == prompt
        assert [cache.get_seq_length(layer) for layer in range(7)] == [prompt] * 7
        probes.decode(thinker, torch.tensor([3, 4, 5]), cache, 2)
    assert probes.physical_lengths(cache) == [length + 4 for length in seen]
    assert cache.get_seq_length() == prompt + 4


def test_keys_of_survivors_are_stored_in_order(thinker: nn.Module, clip: dict[str, Any], kv_policy: str) -> None:
    """The keys of a layer before the first drop are those of an unpruned run at the surviving columns."""
    with torch.no_grad():
        full = cache_of(thinker(**clip, use_cache=True))
        with attach(thinker, SCHEDULES["droppers_at_odd_layers"](thinker.config), kv_policy=kv_policy) as trace:
            cache = cache_of(thinker(**clip, use_cache=True))
    prompt = clip["input_ids"].shape[1]
    columns = trace.stages[-1].kept_indices[0] if kv_policy == "uniform" else torch.arange(prompt)
    for states in ("keys", "values"):
        stored, unpruned = (getattr(which.layers[0], states) for which in (cache, full))
        torch.testing.assert_close(stored, unpruned[:, :, columns], rtol=0, atol=1e-6)


# Eager attention builds one mask from the first layer, so layers of unequal length need the hooks.
@pytest.mark.parametrize(("attention", "kv_policy"), [("sdpa", "uniform"), ("sdpa", "per-layer"), ("eager", "uniform")])
def test_decoding_goes_on_after_the_context(
    pristine: nn.Module, thinker: nn.Module, clip: dict[str, Any], kv_policy: str
) -> None:
    with attach(thinker, SCHEDULES["preset"](thinker.config), kv_policy=kv_policy) as trace:
        first = probes.loop(thinker, clip, 3)
    rest = probes.decode(thinker, torch.tensor(first.ids[-1:]), first.cache, 4)
    fed = [*first.ids, *rest.ids[:-1]]
    start = int(prompt_positions(thinker, clip).max()) + 1
    logits = oracle_logits(pristine, clip, probes.kept_sets(trace), kv_policy, fed, range(start, start + len(fed)))
    assert (rest.logits - logits[-4:]).abs().max() < 2e-5


def test_a_cache_of_the_caller_is_used(thinker: nn.Module, clip: dict[str, Any], kv_policy: str) -> None:
    schedule = SCHEDULES["preset"](thinker.config)
    for cache in (DynamicCache(), DynamicCache(config=thinker.config.text_config)):
        with attach(thinker, schedule, kv_policy=kv_policy) as trace:
            expected = probes.generate(thinker, clip)
            answer = probes.generate(thinker, clip, **{CACHE: cache})
        assert answer.cache is cache
        assert torch.equal(answer.logits, expected.logits)
        assert probes.physical_lengths(cache) == [length + 7 for length in trace.kv_lengths]
        assert cache.get_seq_length() == clip["input_ids"].shape[1] + 7


def test_cropping_takes_back_generated_tokens(thinker: nn.Module, clip: dict[str, Any], kv_policy: str) -> None:
    with attach(thinker, SCHEDULES["preset"](thinker.config), kv_policy=kv_policy):
        first = probes.loop(thinker, clip, 6)
        length = first.cache.get_seq_length()
        first.cache.crop(-3)
        assert first.cache.get_seq_length() == length - 3
        again = probes.decode(thinker, torch.tensor(first.ids[2:3]), first.cache, 3)
    assert again.ids == first.ids[3:]
    assert (again.logits - first.logits[3:]).abs().max() < 1e-5


def test_a_reset_cache_is_like_new(thinker: nn.Module, clip: dict[str, Any], kv_policy: str) -> None:
    untouched = probes.generate(thinker, clip)
    with attach(thinker, SCHEDULES["preset"](thinker.config), kv_policy=kv_policy):
        pruned = probes.generate(thinker, clip)
        pruned.cache.reset()
        assert pruned.cache.get_seq_length() == 0
        assert torch.equal(probes.generate(thinker, clip, **{CACHE: pruned.cache}).logits, pruned.logits)
    pruned.cache.reset()
    again = probes.generate(thinker, clip, **{CACHE: pruned.cache})
    assert torch.equal(again.logits, untouched.logits)
    assert probes.physical_lengths(again.cache) == probes.physical_lengths(untouched.cache)
