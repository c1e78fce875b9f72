"""What attach leaves behind: nothing. What it touches meanwhile: hooks and one instance attribute."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.models import small_omni
from tests.integrations.huggingface.probes import assert_same
from tests.integrations.huggingface.prompts import Text, Video, build_prompt
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import audio_tower, text_model, vision_tower


class _Interrupted(Exception):
    pass


@contextmanager
def interrupted_at(module: nn.Module) -> Iterator[None]:
    """The forward of `module` raises."""

    def interrupt(*_: Any) -> None:
        raise _Interrupted

    handle = module.register_forward_pre_hook(interrupt)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("name", ["preset", "pruners_only", "several_stages_at_one_place", "before_the_last_layer"])
def test_after_exit_the_model_is_as_it_was(thinker: nn.Module, clip: dict[str, Any], kv_policy: str, name: str) -> None:
    before = probes.generate(thinker, clip)
    footprint, definitions = probes.footprint(thinker), probes.definitions(thinker)
    with attach(thinker, SCHEDULES[name](thinker.config), kv_policy=kv_policy):
        pruned = probes.generate(thinker, clip)
    assert not torch.equal(pruned.logits, before.logits)
    assert probes.footprint(thinker) == footprint
    assert probes.definitions(thinker) == definitions
    assert_same(probes.generate(thinker, clip), before)


def test_meanwhile_only_hooks_and_generate_are_touched(
    thinker: nn.Module, clip: dict[str, Any], kv_policy: str
) -> None:
    probes.generate(thinker, clip)
    footprint, definitions = probes.footprint(thinker), probes.definitions(thinker)
    with attach(thinker, SCHEDULES["preset"](thinker.config), kv_policy=kv_policy):
        probes.generate(thinker, clip)
        attached = probes.footprint(thinker)
        assert probes.definitions(thinker) == definitions
    for name, (attributes, _) in attached.items():
        assert set(attributes) - set(footprint[name][0]) <= ({"generate"} if name == "" else set()), name


def test_an_exception_in_the_context_is_passed_on_and_cleaned_up_after(
    thinker: nn.Module, clip: dict[str, Any]
) -> None:
    before = probes.generate(thinker, clip)
    footprint = probes.footprint(thinker)
    with pytest.raises(_Interrupted), attach(thinker, SCHEDULES["preset"](thinker.config)):
        probes.generate(thinker, clip)
        raise _Interrupted
    assert probes.footprint(thinker) == footprint
    assert_same(probes.generate(thinker, clip), before)


PLACES = {
    "audio_tower": lambda model: audio_tower(model).layers[1],
    "vision_tower": lambda model: vision_tower(model).merger,
    "before_the_first_drop": lambda model: text_model(model).layers[0].mlp,
    "between_drops": lambda model: text_model(model).layers[3].self_attn,
    "after_the_last_layer": lambda model: text_model(model).norm,
}


@pytest.mark.parametrize("place", PLACES)
def test_an_exception_in_a_forward_leaves_nothing(
    thinker: nn.Module, clip: dict[str, Any], kv_policy: str, place: str
) -> None:
    before = probes.generate(thinker, clip)
    footprint = probes.footprint(thinker)
    schedule = SCHEDULES["preset"](thinker.config)
    with (
        pytest.raises(_Interrupted),
        attach(thinker, schedule, kv_policy=kv_policy),
        interrupted_at(PLACES[place](thinker)),
    ):
        probes.generate(thinker, clip)
    assert probes.footprint(thinker) == footprint
    assert_same(probes.generate(thinker, clip), before)


@pytest.mark.parametrize("place", PLACES)
def test_a_call_after_a_failed_one_is_right(
    thinker: nn.Module, clip: dict[str, Any], kv_policy: str, place: str
) -> None:
    schedule = SCHEDULES["preset"](thinker.config)
    with attach(thinker, schedule, kv_policy=kv_policy):
        expected = probes.generate(thinker, clip)
    other = build_prompt(thinker.config, Text(4), Video((4, 4, 6), 1.0, mel_frames=390), Text(5), seed=9)
    with attach(thinker, schedule, kv_policy=kv_policy):
        with pytest.raises(_Interrupted), interrupted_at(PLACES[place](thinker)):
            probes.generate(thinker, other)
        assert_same(probes.generate(thinker, clip), expected)


@pytest.mark.parametrize("talker", [False, True], ids=["thinker_only", "with_talker"])
def test_the_full_model_is_pruned_through_its_thinker(attention: str, clip: dict[str, Any], talker: bool) -> None:
    model = small_omni(attention, talker=talker)
    schedule = SCHEDULES["preset"](model.config)
    with attach(model.thinker, schedule):
        expected = probes.generate(model.thinker, clip)
    footprint = probes.footprint(model)
    with attach(model, schedule) as trace:
        assert_same(probes.generate(model.thinker, clip), expected)
    assert trace.prompt_lengths == [clip["input_ids"].shape[1]]
    assert probes.footprint(model) == footprint


def test_a_generate_of_the_callers_own_comes_back(thinker: nn.Module, clip: dict[str, Any]) -> None:
    own = thinker.generate = functools.partial(thinker.generate, max_new_tokens=2)
    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        assert thinker.generate(**clip).shape[1] == clip["input_ids"].shape[1] + 2
    assert thinker.generate is own
