"""More ways in, against the same oracle: every kind of prompt, sampling, missing masks, gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.agreement import TOLERANCE, assert_agrees, next_in_forward, next_in_generate
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.oracle import differentiable_logits, oracle_logits, prompt_positions
from tests.integrations.huggingface.prompts import Audio, Image, Part, Text, Video, build_prompt, columns_without
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import text_model, weight

PROMPTS: dict[str, list[Part]] = {
    "video": [Text(5), Video((6, 4, 6)), Text(4)],
    "audio": [Text(5), Audio(431), Text(4)],
    "video_then_audio": [Text(5), Video((5, 4, 8)), Text(2), Audio(333), Text(4)],
    "two_of_each": [Text(5), Video((4, 4, 6)), Text(3), Video((3, 6, 8), 0.5), Audio(333), Audio(410), Text(4)],
    "image_and_clip": [Text(3), Image((1, 4, 6)), Text(2), Video((4, 4, 6), 1.0, mel_frames=410), Text(5)],
    "sound_ends_early": [Text(9), Video((4, 4, 6), 1.0, mel_frames=230), Text(3)],
}


@pytest.mark.parametrize("name", PROMPTS)
def test_every_kind_of_prompt(thinker: nn.Module, pristine: nn.Module, kv_policy: str, name: str) -> None:
    inputs = build_prompt(thinker.config, *PROMPTS[name], seed=3)
    with attach(thinker, SCHEDULES["preset"](thinker.config), kv_policy=kv_policy) as trace:
        answer = probes.generate(thinker, inputs)
        loop = probes.loop(thinker, inputs)
    kept = probes.kept_sets(trace)
    for convention, got in ((next_in_generate, answer), (next_in_forward, loop)):
        start = convention(thinker, inputs)
        assert_agrees(pristine, inputs, kept, kv_policy, [got], got.ids[:-1], list(range(start, start + 7)))
    unpruned = columns_without(thinker.config, inputs, "audio", "video").tolist()
    assert all(set(unpruned) <= set(columns.tolist()) for _, columns in kept)
    assert kept[-1][1].tolist() == unpruned


def test_the_two_position_conventions_differ_somewhere(pristine: nn.Module) -> None:
    inputs = build_prompt(pristine.config, *PROMPTS["sound_ends_early"])
    assert next_in_generate(pristine, inputs) < next_in_forward(pristine, inputs)


@pytest.mark.parametrize("name", ["preset", "pruners_only", "one_modality_before_the_llm"])
def test_logits_of_all_survivors(
    thinker: nn.Module, pristine: nn.Module, clip: dict[str, Any], kv_policy: str, name: str
) -> None:
    with torch.no_grad(), attach(thinker, SCHEDULES[name](thinker.config), kv_policy=kv_policy) as trace:
        logits = thinker(**clip).logits[0]
    kept = probes.kept_sets(trace)
    expected = oracle_logits(pristine, clip, kept, kv_policy)[kept[-1][1]]
    assert logits.shape == expected.shape
    assert (logits - expected).abs().max() < TOLERANCE


def test_sampling(thinker: nn.Module, pristine: nn.Module, clip: dict[str, Any], kv_policy: str) -> None:
    torch.manual_seed(5)
    with attach(thinker, SCHEDULES["preset"](thinker.config), kv_policy=kv_policy) as trace:
        answer = probes.generate(thinker, clip, 8, do_sample=True, temperature=3.0)
    start = next_in_generate(thinker, clip)
    fed, positions = answer.ids[:-1], range(start, start + 7)
    expected = oracle_logits(pristine, clip, probes.kept_sets(trace), kv_policy, fed, positions)[-8:]
    assert answer.ids != expected.argmax(-1).tolist()
    assert (answer.logits - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", ["preset", "before_the_last_layer"])
@pytest.mark.parametrize("numbered", [True, False], ids=["with_positions", "without_positions"])
def test_without_an_attention_mask(
    thinker: nn.Module, pristine: nn.Module, clip: dict[str, Any], numbered: bool, name: str
) -> None:
    """Without a mask the model numbers the columns from 0; given positions it takes those."""
    length = clip["input_ids"].shape[1]
    positions = prompt_positions(thinker, clip) if numbered else torch.arange(length).expand(3, -1)
    bare = {name: value for name, value in clip.items() if name != "attention_mask"}
    if numbered:
        bare["position_ids"] = positions[:, None]
    with torch.no_grad(), attach(thinker, SCHEDULES[name](thinker.config)) as trace:
        logits = thinker(**bare).logits[0, -1]
    expected = oracle_logits(pristine, clip, probes.kept_sets(trace), "uniform", positions=positions)[-1]
    assert (logits - expected).abs().max() < TOLERANCE


def test_gradients(thinker: nn.Module, pristine: nn.Module, clip: dict[str, Any]) -> None:
    """They reach the layers before a drop, and the towers through the tokens that Stage I kept."""
    with attach(thinker, SCHEDULES["preset"](thinker.config)) as trace:
        logits = thinker(**clip).logits[0, -1]
    expected = differentiable_logits(pristine, clip, probes.kept_sets(trace), "uniform")[-1]
    names = (
        "model.language_model.layers.0.mlp.up_proj.weight",
        "model.language_model.layers.5.self_attn.k_proj.weight",
        "model.visual.blocks.0.mlp.up_proj.weight",
        "model.audio_tower.layers.0.fc1.weight",
    )
    gradients = [
        torch.autograd.grad(row.square().sum(), [weight(model, name) for name in names])
        for model, row in ((thinker, logits), (pristine, expected))
    ]
    for name, got, wanted in zip(names, *gradients, strict=True):
        assert wanted.abs().max() > 1e-3, name
        assert (got - wanted).abs().max() < 1e-4 * wanted.abs().max(), name


def test_attention_maps_are_as_large_as_what_a_layer_sees(clip: dict[str, Any]) -> None:
    model = small_thinker("eager")
    with torch.no_grad(), attach(model, SCHEDULES["preset"](model.config)) as trace:
        maps = model(**clip, output_attentions=True).attentions
    before = {0: clip["input_ids"].shape[1]} | {stage.layer + 1: stage.num_tokens for stage in trace.stages}
    seen = [before[max(at for at in before if at <= layer)] for layer in range(1, 8)]
    assert [tuple(weights.shape[-2:]) for weights in maps] == [(n, n) for n in seen]


def test_per_layer_policy_without_a_cache(thinker: nn.Module, pristine: nn.Module, clip: dict[str, Any]) -> None:
    """No stage here looks at the last token, so recomputing the prompt for every token must keep the same columns."""
    schedule = SCHEDULES["unweighted_selector_late_drop"](thinker.config)
    with attach(thinker, schedule, kv_policy="per-layer") as trace:
        answer = probes.generate(thinker, clip, 4)
        kept = probes.kept_sets(trace)
        again = probes.generate(thinker, clip, 4, use_cache=False)
    start = next_in_generate(thinker, clip)
    assert_agrees(pristine, clip, kept, "per-layer", [answer], answer.ids[:-1], list(range(start, start + 3)))
    assert again.ids == answer.ids
    assert (again.logits - answer.logits).abs().max() < TOLERANCE


def test_text_positions_have_no_gaps(thinker: nn.Module, clip: dict[str, Any]) -> None:
    """Gaps in the text positions would look like packed sequences to flash attention."""
    seen: list[tuple[torch.Tensor, int]] = []

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((kwargs["position_ids"], kwargs["hidden_states"].shape[1]))

    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        for layer in text_model(thinker).layers:
            layer.self_attn.register_forward_pre_hook(look, with_kwargs=True)
        probes.generate(thinker, clip, 1)
    assert len(seen) == 7
    assert all(ids.tolist() == [list(range(length))] for ids, length in seen)
