"""No call knows of the one before, and a schedule that drops nothing changes no bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers.cache_utils import DynamicLayer

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.probes import assert_same
from tests.integrations.huggingface.prompts import Audio, Image, Text, Video, build_prompt
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import cache_of, text_model

PRUNING = ["preset", "pruners_only", "several_stages_at_one_place"]
KEEPING = {
    "empty": Schedule(),
    "ratios_of_one": Schedule(
        before_llm=DiversitySelector(1.0),
        after_layer={2: StagePruner(1.0), 5: [StagePruner({"video": 1.0, "audio": 1.0})]},
    ),
    "nothing_to_drop": Schedule(before_llm=ModalityDropper(("image",)), after_layer={3: ModalityDropper(("image",))}),
}


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
    assert {type(layer) for answer in (kept, kept_by_hand) for layer in answer.cache.layers} == {DynamicLayer}


@torch.no_grad()
def test_keeping_everything_copies_nothing(thinker: nn.Module, clip: dict[str, Any]) -> None:
    """Every layer reads the very memory the layer before it wrote."""
    written: list[torch.Tensor] = []
    read: list[torch.Tensor] = []
    with attach(thinker, KEEPING["ratios_of_one"]):
        for layer in text_model(thinker).layers:
            layer.register_forward_hook(lambda module, args, output: written.append(output))
            layer.register_forward_pre_hook(lambda module, args: read.append(args[0]))
        thinker(**clip)
    assert [tensor.data_ptr() for tensor in read[1:]] == [tensor.data_ptr() for tensor in written[:-1]]


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
    assert cache_of(plain) is None
    assert torch.equal(plain.logits, cached)
    assert [columns.tolist() for _, columns in probes.kept_sets(trace)] == [columns.tolist() for _, columns in kept]


def test_two_models_at_once_do_not_mix(thinker: nn.Module, attention: str, clip: dict[str, Any]) -> None:
    other, answers = small_thinker(attention, seed=1), []
    pairs = ((thinker, "preset"), (other, "pruners_only"))
    for model, name in pairs:
        with attach(model, SCHEDULES[name](model.config)):
            answers.append(probes.generate(model, clip))
    first, second = (attach(model, SCHEDULES[name](model.config)) for model, name in pairs)
    with first, second:
        for (model, _), answer in zip(pairs, answers, strict=True):
            assert_same(probes.generate(model, clip), answer)
