"""A model whose modules, or whose `generate`, somebody else changes inside the block."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch import nn

from seats_ops import UnsupportedModelState
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.hooks import Hook
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.models import small_omni, small_thinker
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import audio_tower, place, text_model, vision_tower


@pytest.fixture
def attention() -> str:
    return "sdpa"


def add_adapter(model: Any, *targets: str) -> None:
    torch.manual_seed(0)
    try:
        model.add_adapter(LoraConfig(r=4, target_modules=list(targets), init_lora_weights=False))
    except ValueError as error:
        if "version of PEFT" not in str(error):
            raise
        pytest.skip(f"transformers takes no adapter from this peft: {error}")
    model.eval()


def swap(modules: nn.ModuleList, index: int) -> None:
    modules[index] = copy.deepcopy(modules[index])


def replace(parent: nn.Module, name: str) -> None:
    setattr(parent, name, copy.deepcopy(getattr(parent, name)))


def replace_at(model: nn.Module, path: str) -> None:
    parent, _, name = place(model, path).rpartition(".")
    replace(model.get_submodule(parent), name)


# A change, and what the refusal names.
CHANGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "adapter_on_a_tower": (lambda m: add_adapter(m, "visual.blocks.2.attn.q"), r"visual\.blocks\.2\.attn\.q, Linear"),
    "layer": (lambda m: swap(text_model(m).layers, 5), r"model\.layers\.5"),
    "layers_exchanged": (
        lambda m: text_model(m).layers.__setitem__(0, text_model(m).layers[1]),
        r"model\.layers\.0",
    ),
    "layer_more": (
        lambda m: text_model(m).layers.append(copy.deepcopy(text_model(m).layers[0])),
        "expected 7 layers",
    ),
    "layer_less": (lambda m: text_model(m).layers.__delitem__(6), r"model\.layers\.6, NoneType"),
    "list_of_layers": (lambda m: replace(text_model(m), "layers"), r"model\.layers, ModuleList"),
    "text_model": (lambda m: replace_at(m, "model.language_model"), r"another model(\.language_model)?, \w+TextModel"),
    "tower": (lambda m: replace_at(m, "model.visual"), r"another (model\.)?visual"),
    "last_attention": (lambda m: replace(audio_tower(m).layers[-1], "self_attn"), r"layers\.1\.self_attn"),
    "projection": (lambda m: replace(audio_tower(m).layers[-1].self_attn, "k_proj"), r"self_attn\.k_proj"),
}


@pytest.mark.filterwarnings("ignore:attach. no forward")
@pytest.mark.parametrize("when", ["before_the_first_call", "between_calls"])
@pytest.mark.parametrize("change", CHANGES)
def test_modules_that_are_hooked(thinker: nn.Module, clip: dict[str, Any], change: str, when: str) -> None:
    apply, match = CHANGES[change]
    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        if when == "between_calls":
            probes.generate(thinker, clip, 1)
        apply(thinker)
        with probes.produced_logits(thinker) as produced:
            for call in (lambda: probes.generate(thinker, clip, 1), lambda: thinker(**clip)):
                with pytest.raises(UnsupportedModelState, match=match):
                    call()
        assert produced == []
    for module in thinker.modules():
        hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        assert not any(isinstance(hook, Hook) for hook in hooks)


@pytest.mark.filterwarnings("ignore:attach. no forward")
def test_encoding_with_a_changed_tower(thinker: nn.Module, clip: dict[str, Any]) -> None:
    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        swap(vision_tower(thinker).blocks, -1)
        with pytest.raises(UnsupportedModelState, match=r"visual\.blocks\.2"):
            thinker.get_video_features(clip["pixel_values_videos"], clip["video_grid_thw"])


@pytest.mark.filterwarnings("ignore:attach. no forward")
def test_another_thinker_in_a_full_model(clip: dict[str, Any]) -> None:
    model = small_omni()
    with attach(model, SCHEDULES["preset"](model.config)):
        model.thinker = small_thinker(seed=1)
        with pytest.raises(UnsupportedModelState, match=r"another thinker"):
            model.generate(**clip, return_audio=False)


def test_modules_that_are_looked_at_when_they_are_needed(thinker: nn.Module, clip: dict[str, Any]) -> None:
    """An adapter on the decoder: projections are those of the call, so scores are, too."""
    schedule = SCHEDULES["pruners_only"](thinker.config)
    parts = "2.self_attn.q_proj", "1.self_attn.k_proj"
    with attach(thinker, schedule) as trace:
        before = probes.generate(thinker, clip, 2)
        add_adapter(thinker, *(place(thinker, f"model.language_model.layers.{part}") for part in parts))
        changed = probes.generate(thinker, clip, 2)
        kept = probes.kept_sets(trace)
    with attach(thinker, schedule) as trace:
        probes.assert_same(probes.generate(thinker, clip, 2), changed)
    for (_, one), (_, other) in zip(kept, probes.kept_sets(trace), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(before.logits, changed.logits)


def test_a_generate_that_is_wrapped_inside_the_block(thinker: nn.Module, clip: dict[str, Any]) -> None:
    schedule = SCHEDULES["preset"](thinker.config)
    plain = probes.generate(thinker, clip, 2)
    calls: list[int] = []
    with attach(thinker, schedule):
        pruned = probes.generate(thinker, clip, 2)
        inner = thinker.generate

        @functools.wraps(inner)
        def counted(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return inner(*args, **kwargs)

        thinker.generate = counted
        probes.assert_same(probes.generate(thinker, clip, 2), pruned)
    assert thinker.__dict__["generate"] is counted
    probes.assert_same(probes.generate(thinker, clip, 2), plain)
    # And once more, around what is left of the first.
    with attach(thinker, schedule):
        probes.assert_same(probes.generate(thinker, clip, 2), pruned)
        with pytest.raises(UnsupportedModelState, match="prefill_chunk_size"):
            thinker.generate(**clip, prefill_chunk_size=16)
    probes.assert_same(probes.generate(thinker, clip, 2), plain)
    assert len(calls) == 4 and thinker.__dict__["generate"] is counted


def test_a_generate_that_is_kept_beyond_the_block(thinker: nn.Module, clip: dict[str, Any]) -> None:
    plain = thinker.generate(**clip, do_sample=False, max_new_tokens=2)
    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        kept = thinker.generate
        kept(**clip, do_sample=False, max_new_tokens=2)
    assert torch.equal(kept(**clip, do_sample=False, max_new_tokens=2), plain)
