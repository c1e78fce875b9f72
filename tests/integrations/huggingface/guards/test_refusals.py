"""Generation modes and caches that hooks would get silently wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn
from transformers import Cache, DynamicCache, GenerationConfig, StaticCache, cache_utils

from seats_ops import UnsupportedModelState
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.guards.refusals import LATE, assert_refused
from tests.integrations.huggingface.models import small_omni, small_thinker
from tests.integrations.huggingface.upstream import CACHE

MODES: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt_lookup": (r"prompt_lookup_num_tokens", {"prompt_lookup_num_tokens": 3}),
    "early_exit": (r"assistant_early_exit", {"assistant_early_exit": 2}),
    "chunked_prefill": (r"prefill_chunk_size", {"prefill_chunk_size": 16}),
    "guidance": (r"guidance_scale", {"guidance_scale": 2.0}),
    "paged_cache": (r"cache_implementation", {"cache_implementation": "paged"}),
    "no_cache": (r"use_cache", {"use_cache": False}),
    "static_cache": (r"cache_implementation", {"cache_implementation": "static"}),
    "quantized_cache": (r"cache_implementation", {"cache_implementation": "quantized"}),
    "offloaded_cache": (r"cache_implementation", {"cache_implementation": "offloaded"}),
}


@pytest.fixture
def attention() -> str:
    return "sdpa"


@pytest.mark.parametrize("mode", MODES)
def test_generation_modes(thinker: nn.Module, silent_clip: dict[str, Any], mode: str) -> None:
    match, options = MODES[mode]
    assert_refused(thinker, silent_clip, "generate", silent_clip | options, match)


@pytest.mark.parametrize("mode", MODES)
def test_generation_modes_in_a_config(thinker: nn.Module, silent_clip: dict[str, Any], mode: str) -> None:
    match, options = MODES[mode]
    config = GenerationConfig(max_new_tokens=3, pad_token_id=297, **options)
    assert_refused(thinker, silent_clip, "generate", silent_clip | {"generation_config": config}, match)


@pytest.mark.parametrize("mode", MODES)
def test_generation_modes_in_the_models_own_config(thinker: nn.Module, silent_clip: dict[str, Any], mode: str) -> None:
    match, options = MODES[mode]
    with probes.produced_logits(thinker) as produced, attach(thinker, LATE):
        for name, value in options.items():
            setattr(thinker.generation_config, name, value)
        with pytest.raises(UnsupportedModelState, match=match):
            thinker.generate(**silent_clip, max_new_tokens=3)
    assert produced == []


def test_positional_arguments_are_looked_at(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    rest = {name: value for name, value in silent_clip.items() if name != "input_ids"}
    with attach(thinker, LATE), pytest.raises(UnsupportedModelState, match="prefill_chunk_size"):
        thinker.generate(silent_clip["input_ids"], GenerationConfig(prefill_chunk_size=16), **rest)


def test_an_argument_goes_before_the_configs(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    config = GenerationConfig(use_cache=False, pad_token_id=297)
    with attach(thinker, LATE):
        answer = probes.generate(thinker, silent_clip, 3)
        again = probes.generate(thinker, silent_clip, 3, generation_config=config, use_cache=True)
    probes.assert_same(answer, again)


def test_an_assistant_model(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    arguments = silent_clip | {"assistant_model": small_thinker(seed=1), "do_sample": False}
    assert_refused(thinker, silent_clip, "generate", arguments, "assistant_model")


Quantised: Any = getattr(cache_utils, "Fp8QuantizedLayer", None) or type("Quantised", (cache_utils.DynamicLayer,), {})
CACHES: dict[str, Callable[[Any], Cache]] = {
    "static": lambda text: StaticCache(config=text, max_cache_len=256),
    "quantized": lambda text: Cache(layers=[Quantised() for _ in range(text.num_hidden_layers)]),
    "offloaded": lambda text: DynamicCache(config=text, offloading=True),
}


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("entry", ["generate", "forward"])
def test_caches(thinker: nn.Module, silent_clip: dict[str, Any], kind: str, entry: str) -> None:
    cache = CACHES[kind](thinker.config.text_config)
    assert_refused(thinker, silent_clip, entry, silent_clip | {CACHE: cache}, CACHE)


def test_speech(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    """The talker scatters masks of the full prompt into hidden states that are shorter; text alone is fine."""
    model = small_omni(talker=True)
    footprint = probes.footprint(model)
    with attach(model, LATE):
        with (
            probes.produced_logits(model.thinker) as produced,
            pytest.raises(UnsupportedModelState, match=r"generation_mode|talker"),
        ):
            model.generate(**silent_clip, thinker_max_new_tokens=3)
        assert produced == []
        text = model.generate(**silent_clip, thinker_max_new_tokens=3, thinker_do_sample=False, generation_mode="text")
        assert text.tolist() == model.thinker.generate(**silent_clip, max_new_tokens=3, do_sample=False).tolist()
    assert probes.footprint(model) == footprint
