"""Keys of every layer, prompt by prompt: what the page says is what the cache holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seats_ops import PruneTrace
from seats_ops.inspector import page
from seats_ops.inspector.facts import keys_of
from seats_ops.integrations import attach
from tests.inspector.conftest import Open
from tests.inspector.test_page import data_of
from tests.integrations.huggingface.batching import batch_of, rows_of
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.schedules import small_preset
from tests.integrations.huggingface.upstream import cache_of

LATE = 6
POLICIES = ("uniform", "per-layer")


def batch(policy: str) -> tuple[Any, PruneTrace, list[list[int]]]:
    """The config, the trace of four prompts of unlike length, and per layer the keys of each that are no padding."""
    model = SMALL["qwen2_5_omni"]("sdpa")
    inputs = batch_of(rows_of(model.config, "interleaved"))
    schedule = small_preset(model.config, drop_layers=(2, 3, 4), late_layer=LATE, encoder_ratio_scale=1.7)
    with torch.no_grad(), attach(model, schedule, kv_policy=policy) as trace:
        layers = cache_of(model(**inputs, use_cache=True)).layers
    number = len(trace.prompt_lengths)
    held = [[layer.num_prompt] * number if layer.filled is None else layer.filled.sum(1).tolist() for layer in layers]
    return model.config, trace, held


@pytest.mark.parametrize("policy", POLICIES)
def test_keys_of_a_prompt_of_a_batch(policy: str) -> None:
    config, trace, held = batch(policy)
    assert len({*trace.prompt_lengths}) == len(trace.prompt_lengths) == 4
    again = PruneTrace.from_json(trace.to_json())
    for row in range(4):
        expected = [layer[row] for layer in held]
        assert keys_of(again, row) == expected
        (run,) = data_of(page(again, row=row, config=config, kv_element_bytes=4))["runs"]
        heads = config.text_config.num_key_value_heads
        width = heads * config.text_config.hidden_size // config.text_config.num_attention_heads
        assert run["layers"]["kv_bytes"] == [2 * 4 * width * keys for keys in expected]


@pytest.mark.parametrize("policy", POLICIES)
def test_layers_that_hold_the_keys_of_a_token(opened: Open, policy: str) -> None:
    """Counted over all tokens of a prompt, they are the keys of every layer."""
    _, trace, held = batch(policy)
    row = 2
    tab = opened(page(trace, row=row))
    said = tab.evaluate("[...TOKENS.column].map((_, i) => layersHolding(DATA.runs[0], i))")
    counts = [0] * len(held)
    for words in said:
        first, last = {"all 7": (1, 7), "none": (1, 0)}.get(words) or map(int, words.split(" to "))
        for layer in range(first, last + 1):
            counts[layer - 1] += 1
    assert counts == [layer[row] for layer in held]
    assert {*said} == (
        {"all 7", "none"} if policy == "uniform" else {"all 7", "none", "1 to 2", "1 to 3", "1 to 4", "1 to 5"}
    )
    assert tab.inner_text("#summary").startswith(f"Prompt 3 of 4, {trace.prompt_lengths[row]} tokens")


def test_a_trace_that_does_not_say_how_it_was_pruned() -> None:
    """One prompt's keys are those of the cache; whose those of several are, nobody knows."""
    _, trace, _ = batch("per-layer")
    trace.kv_policy = ""
    assert keys_of(trace, 0) == []
    alone = PruneTrace([], [5], {}, [5, 4])
    assert keys_of(alone, 0) == [5, 4]
    with pytest.raises(ValueError, match="kv_policy: expected uniform, per-layer or nothing, got 'all'"):
        PruneTrace.from_json(alone.to_json().replace('"kv_policy": ""', '"kv_policy": "all"'))
