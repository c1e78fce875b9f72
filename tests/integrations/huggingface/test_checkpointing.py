"""Gradient checkpointing in training mode: transformers takes the cache away from such layers, one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from seats_ops import UnsupportedModelState
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.families.family import find_family
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.models import small_omni
from tests.integrations.huggingface.prompts import Text, Video, build_prompt, stills
from tests.integrations.huggingface.schedules import small_preset
from tests.integrations.huggingface.upstream import CACHE, cache_of, needs, recompute, vision_tower

REFUSED = "^model: expected layers that fill the cache, got gradient checkpointing in training mode"


def prompt_of(model: nn.Module) -> dict[str, Any]:
    return build_prompt(model.config, *stills(model.config, Text(5), Video((4, 4, 6), 1.0), Text(4)))


def schedule_of(model: nn.Module) -> Any:
    return small_preset(model.config, drop_layers=(2, 3, 4), late_layer=6, encoder_ratio_scale=1.7)


@pytest.mark.parametrize("family", SMALL)
def test_generate(family: str) -> None:
    model = SMALL[family]("sdpa").train()
    prompt = prompt_of(model)
    recompute(model)
    ran: list[nn.Module] = []
    for module in model.modules():
        module.register_forward_pre_hook(lambda module, _: ran.append(module))
    for kv_policy in ("uniform", "per-layer"):
        with attach(model, schedule_of(model), kv_policy=kv_policy):
            ran.clear()
            for options in ({}, {"use_cache": True}, {CACHE: DynamicCache()}, {"num_beams": 2}):
                with pytest.raises(UnsupportedModelState, match=REFUSED):
                    model.generate(**prompt, max_new_tokens=3, **options)
            assert ran == []
            expected = probes.generate(model.eval(), prompt, 3)
        model.train().gradient_checkpointing_disable()
        with attach(model, schedule_of(model), kv_policy=kv_policy):
            probes.assert_same(probes.generate(model, prompt, 3), expected)
        recompute(model)


@pytest.mark.parametrize("family", SMALL)
def test_generate_without_a_cache(family: str) -> None:
    """Every token is a prefill of its own, which loses nothing."""
    model = SMALL[family]("sdpa")
    prompt = prompt_of(model)
    options = {"use_cache": False, "max_new_tokens": 3, "do_sample": False}
    with attach(model, schedule_of(model), kv_policy="per-layer"):
        expected = model.generate(**prompt, **options)
        recompute(model.train())
        assert torch.equal(model.generate(**prompt, **options), expected)


def test_generate_of_the_full_model() -> None:
    model = small_omni(talker=True).train()
    prompt = prompt_of(model.thinker)
    recompute(model.thinker)
    with attach(model, schedule_of(model.thinker)), pytest.raises(UnsupportedModelState, match=REFUSED):
        model.generate(**prompt, thinker_max_new_tokens=3, generation_mode="text")


@pytest.mark.parametrize("family", SMALL)
@needs("checkpointing")
def test_a_layer_alone(family: str) -> None:
    """The decoder does not know that a layer of it computes anew, and makes a cache."""
    model = SMALL[family]("sdpa").train()
    prompt = prompt_of(model)
    layer = find_family(model)[0].text_model(model).layers[3]
    layer.gradient_checkpointing, layer._gradient_checkpointing_func = True, torch.utils.checkpoint.checkpoint
    with attach(model, schedule_of(model)):
        for call in (model, model.generate):
            with pytest.raises(UnsupportedModelState, match=REFUSED):
                call(**prompt)
        got = model(**prompt, use_cache=False).logits
        layer.eval()
        assert torch.equal(model(**prompt).logits, got)


@pytest.mark.parametrize("family", SMALL)
@needs("checkpointing")
def test_forward(family: str) -> None:
    """Without a cache of the caller's, none is made: a forward is right. With one, it would stay empty."""
    model = SMALL[family]("sdpa").train()
    prompt = prompt_of(model)
    with attach(model, schedule_of(model)):
        expected = model(**prompt).logits
        filled = cache_of(model(**prompt, use_cache=True))
        recompute(model)
        for use_cache in (None, False, True):
            output = model(**prompt, use_cache=use_cache)
            assert cache_of(output) is None
            assert torch.equal(output.logits, expected)
        for cache in (DynamicCache(), filled):
            inputs = prompt if cache is not filled else {"input_ids": torch.tensor([[5]])}
            with pytest.raises(UnsupportedModelState, match=REFUSED):
                model(**inputs, **{CACHE: cache})


def test_towers_may_compute_anew() -> None:
    """They have no cache."""
    model = SMALL["qwen2_5_omni"]("sdpa").train()
    prompt = prompt_of(model)
    with attach(model, schedule_of(model)):
        expected = probes.generate(model, prompt, 3)
        for block in vision_tower(model).blocks:
            block.gradient_checkpointing, block._gradient_checkpointing_func = True, torch.utils.checkpoint.checkpoint
        probes.assert_same(probes.generate(model, prompt, 3), expected)
