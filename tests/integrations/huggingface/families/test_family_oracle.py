"""Every family against the full-length oracle: drops among and behind the layers DeepStack adds to, both policies."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seats_ops import WindowBudgetAllocator
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.agreement import assert_agrees, next_in_forward, next_in_generate
from tests.integrations.huggingface.families.families import SMALL, pristine_of, small_qwen3_omni_full
from tests.integrations.huggingface.oracle import merge, oracle_logits, oracle_scores
from tests.integrations.huggingface.prompts import Audio, Image, Part, Text, Video, build_prompt, columns_of, moving
from tests.integrations.huggingface.schedules import DEEP_SCHEDULES

FAMILIES = ["qwen3_omni", "qwen2_5_vl", "qwen3_vl", "phi4_multimodal"]


def prompt_for(config: Any, seed: int = 3) -> dict[str, Any]:
    """An image, and a clip with sound, two clips without, or two sounds, between pieces of text."""
    clips: list[Part] = [Video((5, 4, 6), 1.0, mel_frames=630)]
    if not hasattr(config, "audio_config"):
        clips = [Video((5, 4, 6)), Text(3), Video((3, 6, 4), 0.5)]
    if moving(config) == "audio":
        clips = [Audio(630), Text(3), Audio(190)]
    return build_prompt(config, Text(6), Image((1, 6, 4)), Text(3), *clips, Text(7), seed=seed)


def later(start: int, count: int) -> list[int]:
    return list(range(start, start + count))


@pytest.mark.parametrize("name", DEEP_SCHEDULES)
@pytest.mark.parametrize("family", FAMILIES)
def test_generate_and_decoding_loop(family: str, name: str, attention: str, kv_policy: str) -> None:
    model, pristine = SMALL[family](attention), pristine_of(family)
    inputs, schedule = prompt_for(model.config), DEEP_SCHEDULES[name](model.config)
    with attach(model, schedule, kv_policy=kv_policy) as trace:
        generated = probes.generate(model, inputs, 6)
        kept = probes.kept_sets(trace)
        loop = probes.loop(model, inputs, 6)
    assert [layer for layer, _ in kept] == ([0] if schedule.before_llm else []) + list(schedule.after_layer)
    sizes = [inputs["input_ids"].shape[1], *(len(columns) for _, columns in kept)]
    assert sizes == sorted(set(sizes), reverse=True)  # every stage drops something
    for convention, answer in ((next_in_generate, generated), (next_in_forward, loop)):
        positions = later(convention(model, inputs), 5)
        assert_agrees(pristine, inputs, kept, kv_policy, [answer], answer.ids[:-1], positions)


@pytest.mark.parametrize("family", ["qwen2_5_omni", *FAMILIES])
def test_scores_of_every_drop(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relevance to the last token, after what DeepStack adds to a layer, over all tokens that are left."""
    model, pristine = SMALL[family]("sdpa"), pristine_of(family)
    inputs, schedule = prompt_for(model.config), DEEP_SCHEDULES["pruners_in_a_row"](model.config)
    calls = probes.recorded_calls(monkeypatch, WindowBudgetAllocator)
    with attach(model, schedule) as trace:
        probes.generate(model, inputs, 1)
    kept = probes.kept_sets(trace)
    assert len(calls) == 4
    for i, call in enumerate(calls):
        expected = oracle_scores(pristine, inputs, kept[:i], kept[i][0])
        torch.testing.assert_close(call["scores"].double(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_second_turn(family: str, kv_policy: str) -> None:
    model, pristine = SMALL[family]("sdpa"), pristine_of(family)
    inputs, question = prompt_for(model.config), [21, 150, 33, 7, 250]
    with attach(model, DEEP_SCHEDULES["preset"](model.config), kv_policy=kv_policy) as trace:
        first = probes.loop(model, inputs, 3)
        kept = probes.kept_sets(trace)
        second = probes.decode(model, torch.tensor([first.ids[-1], *question]), first.cache, 4)
    fed = [*first.ids, *question, *second.ids[:-1]]
    positions = later(next_in_forward(model, inputs), len(fed))
    assert_agrees(pristine, inputs, kept, kv_policy, [first, second], fed, positions)


def test_experts_behind_a_vision_tower_only(kv_policy: str) -> None:
    model = SMALL["qwen3_vl_moe"]("sdpa")
    inputs = prompt_for(model.config)
    with attach(model, DEEP_SCHEDULES["preset"](model.config), kv_policy=kv_policy) as trace:
        answer = probes.generate(model, inputs, 6)
    positions = later(next_in_generate(model, inputs), 5)
    kept = probes.kept_sets(trace)
    assert_agrees(pristine_of("qwen3_vl_moe"), inputs, kept, kv_policy, [answer], answer.ids[:-1], positions)


def test_full_omni_model_answers_in_text(attention: str, kv_policy: str) -> None:
    full, pristine = small_qwen3_omni_full(attention), pristine_of("qwen3_omni")
    inputs, schedule = prompt_for(pristine.config), DEEP_SCHEDULES["preset"](pristine.config)
    with attach(full, schedule, kv_policy=kv_policy) as trace:
        sequence = full.generate(**inputs, return_audio=False, thinker_max_new_tokens=6, thinker_do_sample=False)
    length = inputs["input_ids"].shape[1]
    ids, positions = sequence[0, length:].tolist(), later(next_in_generate(pristine, inputs), 5)
    logits = oracle_logits(pristine, inputs, probes.kept_sets(trace), kv_policy, ids[:-1], positions)
    assert logits[length - 1 :].argmax(-1).tolist() == ids
    with attach(full.thinker, schedule, kv_policy=kv_policy):
        assert probes.generate(full.thinker, inputs, 6).ids == ids


@pytest.mark.parametrize("family", ["qwen3_omni", "qwen3_vl"])
def test_the_oracle_notices_deepstack_that_is_lost_or_shifted(family: str) -> None:
    """Shifted: each visual token gets what belongs to another, as after a drop that the features did not follow."""
    pristine = pristine_of(family)
    inputs = prompt_for(pristine.config)
    _, additions = merge(pristine, inputs)
    columns = columns_of(pristine.config, inputs, "video", "image")
    right = oracle_logits(pristine, inputs, [], "uniform")[-1]
    assert len(additions) == 3
    for layer, addition in enumerate(additions):
        shifted = addition.clone()
        shifted[columns] = addition[columns.roll(1)]
        for wrong in (torch.zeros_like(addition), shifted):
            deepstack = [*additions[:layer], wrong, *additions[layer + 1 :]]
            logits = oracle_logits(pristine, inputs, [], "uniform", deepstack=deepstack)[-1]
            assert (logits - right).abs().max() > 1e-2, layer + 1
