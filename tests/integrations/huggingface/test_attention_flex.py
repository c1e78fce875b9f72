"""Flex attention: block masks made anew for what is left, run by torch without compiling, against fused attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops.integrations import attach
from tests.integrations.huggingface.agreement import TOLERANCE
from tests.integrations.huggingface.batching import (
    alone,
    answers,
    assert_kept_alike,
    assert_rows_alike,
    batch_of,
    converse,
)
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompts import Image, Text, Video, build_prompt
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import text_model

PLACES = [("uniform", "pruners_only"), ("per-layer", "unweighted_selector_late_drop"), ("per-layer", "pruners_only")]
FAMILIES = ["qwen3_vl_moe", "qwen2_5_omni"]
pytestmark = [
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
    pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask"),
]


@pytest.fixture(autouse=True)
def uncompiled() -> Iterator[None]:
    """transformers compiles flex attention; inductor's code for it is made for GPUs."""
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.fixture(params=FAMILIES)
def models(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, nn.Module]:
    """The same weights with flex and with fused attention in the decoder."""
    flex, fused = SMALL[request.param]("sdpa"), SMALL[request.param]("sdpa")
    # transformers does not offer it for Qwen2.5-Omni; the interface is the same.
    monkeypatch.setattr(type(text_model(flex)), "_supports_flex_attn", True)
    flex.set_attn_implementation({"text_config": "flex_attention"})
    assert text_model(flex).config._attn_implementation == "flex_attention"
    return flex, fused


@pytest.fixture
def rows(models: tuple[nn.Module, nn.Module]) -> list[dict[str, Any]]:
    prompts = (
        [Text(5), Video((6, 4, 6)), Text(4)],
        [Text(9)],
        [Text(3), Image((1, 4, 4)), Video((3, 4, 8)), Text(2), Video((2, 4, 4)), Text(6)],
    )
    return [build_prompt(models[0].config, *parts, seed=seed) for seed, parts in enumerate(prompts)]


@pytest.mark.parametrize(("kv_policy", "name"), PLACES)
def test_prompts_and_padded_batches(
    models: tuple[nn.Module, nn.Module], rows: list[dict[str, Any]], kv_policy: str, name: str
) -> None:
    schedule = SCHEDULES[name](None)
    expected = alone(models[1], rows, schedule, 4, kv_policy=kv_policy)
    for few in ([0], [0, 1, 2]):
        batch = batch_of([rows[i] for i in few])
        with attach(models[0], schedule, kv_policy=kv_policy) as trace:
            ids, logits = answers(models[0], batch, 4)
        assert_kept_alike(trace, batch, [expected[i] for i in few])
        assert_rows_alike(ids, logits, [expected[i] for i in few])


@pytest.mark.parametrize(("kv_policy", "name"), PLACES)
def test_later_turns_of_several_tokens(
    models: tuple[nn.Module, nn.Module], rows: list[dict[str, Any]], kv_policy: str, name: str
) -> None:
    turns = [[[5], [6], [7]], [[21, 150, 33], [7], [250, 4]], [[11], [12], [13]]]
    told = []
    for model in models:
        with attach(model, SCHEDULES[name](None), kv_policy=kv_policy):
            told.append(converse(model, batch_of(rows), [60, 70, 80], turns))
    assert (told[0] - told[1]).abs().max() < TOLERANCE


@pytest.mark.parametrize("family", ["qwen2_5_omni", "qwen3_omni", "qwen2_5_vl", "qwen3_vl"])
def test_where_transformers_does_not_offer_it(family: str) -> None:
    with pytest.raises(ValueError, match="does not support an attention implementation through torch's flex_attention"):
        SMALL[family]("sdpa").set_attn_implementation({"text_config": "flex_attention"})
