"""What `seats_ops.cost` says of a prompt before any tensor exists, against what a prefill did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seats_ops import PruneTrace
from seats_ops.cost import PromptLengths, prefill_cost, token_counts
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.prompt.token_layout import MediaTokens, build_token_layout
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.golden_case import GoldenCase
from tests.integrations.huggingface.models import golden_thinker


@pytest.fixture(params=range(4), ids="input_{}".format)
def case(request: pytest.FixtureRequest, golden_dir: Path) -> GoldenCase:
    return GoldenCase.load(golden_dir, request.param)


def _prefill(case: GoldenCase, model: Any, kv_policy: str) -> tuple[PruneTrace, PromptLengths]:
    with attach(model, case.schedule(model.config), kv_policy=kv_policy) as trace:
        probes.generate(model, case.inputs, 1)
    layout = build_token_layout(
        case.inputs["input_ids"],
        MediaTokens.from_config(model.config),
        video_grid_thw=case.inputs["video_grid_thw"],
    )
    return trace, PromptLengths.from_layout(layout)


def test_token_counts_hold_in_a_prefill(case: GoldenCase, golden_dir: Path) -> None:
    model = golden_thinker(golden_dir, "sdpa")
    trace, lengths = _prefill(case, model, "uniform")
    predicted = token_counts(case.schedule(model.config), lengths)
    assert [(count.name, count.layer) for count in predicted] == [(stage.name, stage.layer) for stage in trace.stages]
    for count, stage in zip(predicted, trace.stages, strict=True):
        assert count.low <= stage.num_tokens <= count.high
        # Stage I and the late drop follow from lengths alone; so does a first drop while no window falls to one token.
        if stage.name != "StagePruner" or stage is trace.stages[1]:
            assert count.total == stage.num_tokens
        else:
            assert abs(count.total - stage.num_tokens) <= 1


@pytest.mark.parametrize("kv_policy", ["uniform", "per-layer"])
def test_cache_bytes_are_those_of_the_keys_held(case: GoldenCase, golden_dir: Path, kv_policy: Any) -> None:
    model = golden_thinker(golden_dir, "sdpa")
    trace, lengths = _prefill(case, model, kv_policy)
    cost = prefill_cost(
        model.config,
        case.schedule(model.config),
        lengths,
        kv_policy=kv_policy,
        kv_element_bytes=torch.finfo(model.dtype).bits // 8,
    )
    text = model.config.text_config
    per_token = 2 * text.num_key_value_heads * text.hidden_size // text.num_attention_heads * 4
    held = [length * per_token for length in trace.kv_lengths]
    # A later drop may round one token the other way.
    assert all(abs(a - b) <= per_token for a, b in zip(cost.kv_bytes_per_layer, held, strict=True))
