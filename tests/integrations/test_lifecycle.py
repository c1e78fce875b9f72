"""What attach leaves behind (nothing), what it touches meanwhile, and that no call knows of the one before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner
from seats_ops.integrations import attach
from tests.integrations import probes
from tests.integrations.models import small_omni, small_thinker
from tests.integrations.prompts import Audio, Image, Text, Video, build_prompt
from tests.integrations.schedules import SCHEDULES

PRUNING = ["preset", "pruners_only", "several_stages_at_one_place"]
KEEPING = {
    "empty": Schedule(),
    "ratios_of_one": Schedule(
        before_llm=DiversitySelector(1.0),
        after_layer={2: StagePruner(1.0), 5: [StagePruner({"video": 1.0, "audio": 1.0})]},
    ),
    "nothing_to_drop": Schedule(before_llm=ModalityDropper(("image",)), after_layer={3: ModalityDropper(("image",))}),
}


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


def assert_same(one: probes.Answer, other: probes.Answer) -> None:
    assert one.ids == other.ids
    assert torch.equal(one.logits, other.logits)
    assert probes.physical_lengths(one.cache) == probes.physical_lengths(other.cache)


@pytest.mark.parametrize("name", [*PRUNING, "before_the_last_layer"])
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
    "audio_tower": lambda model: model.model.audio_tower.layers[1],
    "vision_tower": lambda model: model.model.visual.merger,
    "before_the_first_drop": lambda model: model.model.language_model.layers[0].mlp,
    "between_drops": lambda model: model.model.language_model.layers[3].self_attn,
    "after_the_last_layer": lambda model: model.model.language_model.norm,
}


@pytest.mark.parametrize("place", PLACES)
def test_an_exception_in_a_forward_leaves_nothing(
    thinker: nn.Module, clip: dict[str, Any], kv_policy: str, place: str
) -> None:
    before = probes.generate(thinker, clip)
    footprint = probes.footprint(thinker)
    with pytest.raises(_Interrupted), attach(thinker, SCHEDULES["preset"](thinker.config), kv_policy=kv_policy):
        with interrupted_at(PLACES[place](thinker)):
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


@pytest.mark.parametrize("name", KEEPING)
def test_keeping_everything_changes_no_bit(thinker: nn.Module, clip: dict[str, Any], kv_policy: str, name: str) -> None:
    untouched, by_hand = probes.generate(thinker, clip), probes.loop(thinker, clip)
    with attach(thinker, KEEPING[name], kv_policy=kv_policy) as trace:
        kept, kept_by_hand = probes.generate(thinker, clip), probes.loop(thinker, clip)
    assert_same(kept, untouched)
    assert_same(kept_by_hand, by_hand)
    length = clip["input_ids"].shape[1]
    assert len(trace.stages) == len(KEEPING[name].before_llm) + sum(map(len, KEEPING[name].after_layer.values()))
    for stage in trace.stages:
        assert stage.kept_indices[0].tolist() == list(range(length))
        assert stage.num_tokens == length
    assert trace.kv_lengths == [length] * 7


def test_every_call_in_one_context_stands_alone(thinker: nn.Module, clip: dict[str, Any], kv_policy: str) -> None:
    schedule = SCHEDULES["preset"](thinker.config)
    config = thinker.config
    prompts = [
        clip,
        build_prompt(config, Text(6), Video((4, 4, 6)), Text(3), seed=1),
        build_prompt(config, Text(12), seed=2),
        build_prompt(config, Text(3), Audio(431), Text(8), seed=3),
        build_prompt(
            config, Text(3), Image((1, 4, 6)), Text(4), Video((3, 4, 6), 1.0, mel_frames=231), Text(4), seed=4
        ),
        clip,
    ]
    alone = []
    for prompt in prompts:
        with attach(thinker, schedule, kv_policy=kv_policy) as trace:
            answer = probes.generate(thinker, prompt, 4)
        alone.append((answer, probes.kept_sets(trace), list(trace.kv_lengths)))
    with attach(thinker, schedule, kv_policy=kv_policy) as trace:
        for prompt, (expected, kept, kv_lengths) in zip(prompts, alone, strict=True):
            assert_same(probes.generate(thinker, prompt, 4), expected)
            assert trace.prompt_lengths == [prompt["input_ids"].shape[1]]
            assert trace.kv_lengths == kv_lengths
            for (layer, columns), (expected_layer, expected_columns) in zip(probes.kept_sets(trace), kept, strict=True):
                assert (layer, columns.tolist()) == (expected_layer, expected_columns.tolist())


def test_two_attachments_one_after_the_other(thinker: nn.Module, attention: str, clip: dict[str, Any]) -> None:
    answers = {}
    for name in PRUNING:
        with attach(thinker, SCHEDULES[name](thinker.config)):
            answers[name] = probes.generate(thinker, clip)
    for name in PRUNING:
        fresh = small_thinker(attention)
        with attach(fresh, SCHEDULES[name](fresh.config)):
            assert_same(probes.generate(fresh, clip), answers[name])


@pytest.mark.parametrize("name", ["preset", "preset_without_late_drop", "one_modality_before_the_llm"])
def test_text_alone_passes_untouched(thinker: nn.Module, clip: dict[str, Any], kv_policy: str, name: str) -> None:
    text = build_prompt(thinker.config, Text(30), seed=8)
    untouched = probes.generate(thinker, text)
    with attach(thinker, SCHEDULES[name](thinker.config), kv_policy=kv_policy) as trace:
        assert_same(probes.generate(thinker, text), untouched)
        probes.generate(thinker, clip)
        assert_same(probes.generate(thinker, text), untouched)
    assert trace.prompt_lengths == [30]
    assert all(stage.kept_indices[0].tolist() == list(range(30)) for stage in trace.stages)


def test_an_encoder_called_on_its_own_leaves_no_trace(thinker: nn.Module, clip: dict[str, Any]) -> None:
    schedule = SCHEDULES["preset"](thinker.config)
    with attach(thinker, schedule) as trace:
        expected = probes.generate(thinker, clip)
        kept = probes.kept_sets(trace)
    other = build_prompt(thinker.config, Video((5, 4, 6), 1.0, mel_frames=430), seed=7)
    with torch.no_grad(), attach(thinker, schedule) as trace:
        thinker.get_video_features(other["pixel_values_videos"], other["video_grid_thw"])
        thinker.get_audio_features(other["input_features"], other["feature_attention_mask"])
        assert_same(probes.generate(thinker, clip), expected)
    assert [columns.tolist() for _, columns in probes.kept_sets(trace)] == [columns.tolist() for _, columns in kept]


def test_inputs_are_not_changed(thinker: nn.Module, clip: dict[str, Any]) -> None:
    copies = {name: value.clone() for name, value in clip.items() if torch.is_tensor(value)}
    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        probes.generate(thinker, clip)
        probes.loop(thinker, clip)
    assert all(torch.equal(clip[name], copy) for name, copy in copies.items())


def test_a_forward_without_a_cache_agrees(thinker: nn.Module, clip: dict[str, Any], kv_policy: str) -> None:
    with torch.no_grad(), attach(thinker, SCHEDULES["preset"](thinker.config), kv_policy=kv_policy) as trace:
        cached = thinker(**clip, use_cache=True).logits
        kept = probes.kept_sets(trace)
        plain = thinker(**clip, use_cache=False)
    assert plain.past_key_values is None
    assert torch.equal(plain.logits, cached)
    assert [columns.tolist() for _, columns in probes.kept_sets(trace)] == [columns.tolist() for _, columns in kept]


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
