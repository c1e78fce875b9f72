"""What only Phi-4-multimodal has: media written by its decoder, positions of text alone, LongRoPE."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops import DiversitySelector, Schedule, StagePruner
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.agreement import TOLERANCE, assert_agrees, next_in_forward
from tests.integrations.huggingface.families.families import pristine_of
from tests.integrations.huggingface.oracle import differentiable_logits, oracle_logits
from tests.integrations.huggingface.phi4_model import phi4
from tests.integrations.huggingface.prompts import Audio, Image, Part, Text, build_prompt
from tests.integrations.huggingface.schedules import DEEP_SCHEDULES
from tests.integrations.huggingface.stage_one import expected_columns, expected_saliency, select_in

PARTS: list[Part] = [Text(4), Image((1, 6, 12)), Text(2), Audio(430), Audio(200), Text(6)]
WEIGHTS = (
    "model.embed_tokens.weight",
    "model.layers.0.mlp.gate_up_proj.weight",
    "model.layers.2.self_attn.qkv_proj.weight",
    "model.layers.6.self_attn.o_proj.weight",
    "model.embed_tokens_extend.audio_embed.encoder.encoders.0.feed_forward_in.gate_up_proj.weight",
    "model.embed_tokens_extend.image_embed.img_projection_up.weight",
    "lm_head.weight",
)


def prompt(model: Any, seed: int = 3) -> dict[str, Any]:
    return build_prompt(model.config, *PARTS, seed=seed)


def preset(model: Any) -> Schedule:
    return DEEP_SCHEDULES["preset"](model.config)


def gradients(model: nn.Module, logits: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(logits.square().sum(), [model.get_parameter(name) for name in WEIGHTS]))


def test_keeping_everything_changes_no_bit(attention: str) -> None:
    model = phi4(attention)
    inputs = prompt(model)
    plain = probes.generate(model, inputs, 4)
    footprint = probes.footprint(model)  # with the hooks that transformers puts in place in a first forward
    everything = Schedule(DiversitySelector({"audio": 1.0, "image": 1.0}), {2: StagePruner(1.0)})
    with attach(model, everything):
        assert torch.equal(probes.generate(model, inputs, 4).logits, plain.logits)
    with attach(model, preset(model)):
        assert not torch.equal(probes.generate(model, inputs, 4).logits, plain.logits)
    assert torch.equal(probes.generate(model, inputs, 4).logits, plain.logits)
    assert probes.footprint(model) == footprint


@pytest.mark.parametrize("name", ["preset", "images_gone_between"])
@torch.no_grad()
def test_a_forward_without_cache(attention: str, name: str) -> None:
    """Gaps between the positions of what is left do not make it several packed sequences."""
    model = phi4(attention)
    inputs = prompt(model) | {"use_cache": False}
    for given in (inputs, inputs | {"attention_mask": None}):
        with attach(model, DEEP_SCHEDULES[name](model.config), kv_policy="per-layer") as trace:
            got = model(**given).logits[0, -1]
        expected = oracle_logits(pristine_of("phi4_multimodal"), inputs, probes.kept_sets(trace), "per-layer")[-1]
        assert (got - expected).abs().max() < TOLERANCE


def test_layers_number_what_they_see_anew() -> None:
    """FlashAttention reads packed sequences from the positions that each layer is given."""
    model, seen = phi4(), []
    with torch.no_grad(), attach(model, preset(model)) as trace:
        for layer in model.get_submodule("model.layers").children():
            layer.register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs["position_ids"]), with_kwargs=True)
        model(**prompt(model))
    left = {stage.layer: stage.num_tokens for stage in trace.stages}
    for index, positions in enumerate(seen):
        count = left[max(layer for layer in left if layer <= index)]
        assert positions.tolist() == [list(range(count))], index + 1


@pytest.mark.parametrize("window", [None, 8192, 4096])
@pytest.mark.parametrize("context", [20, 2048])
def test_both_ranges_of_the_rotary_embedding(context: int, window: int | None, kv_policy: str) -> None:
    """Other frequencies for prompts that begin beyond the first context; sliding windows that span all of it."""
    options: dict[str, Any] = {"original_max_position_embeddings": context, "sliding_window": window}
    model, pristine = phi4(**options), phi4("eager", **options)
    inputs = prompt(model, seed=4)
    with attach(model, preset(model), kv_policy=kv_policy) as trace:
        answer = probes.generate(model, inputs, 5)
        kept = probes.kept_sets(trace)
        again = probes.loop(model, inputs, 5)
    start = next_in_forward(model, inputs)
    for each in (answer, again):
        assert_agrees(pristine, inputs, kept, kv_policy, [each], each.ids[:-1], list(range(start, start + 4)))


def test_gradients(attention: str) -> None:
    model, pristine = phi4(attention).train(), phi4("eager")
    inputs = prompt(model)
    with attach(model, preset(model)) as trace:
        got = gradients(model, model(**inputs).logits[:, -1])
    expected = gradients(pristine, differentiable_logits(pristine, inputs, probes.kept_sets(trace), "uniform")[-1])
    for name, one, other in zip(WEIGHTS, got, expected, strict=True):
        assert other.abs().max() > 1e-3, name
        assert (one - other).abs().max() < 1e-4 * other.abs().max(), name


@pytest.mark.parametrize("segments", ["paper", "encoder"])
def test_sounds_encoded_in_chunks(segments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 positions each; every window of the paper lies in one of them."""
    model, pristine = phi4(), pristine_of("phi4_multimodal")
    parts: list[Part] = [Text(3), Audio(4310), Text(2)]
    inputs = build_prompt(model.config, *parts, seed=1)
    expected = expected_saliency(pristine, inputs, segments)
    assert len(expected["audio"]) == 539
    selection = select_in(model, inputs, monkeypatch, keep_ratio={"audio": 0.1}, saliency_segments=segments)
    heard = inputs["input_ids"][0] == model.config.audio_config.audio_token_id
    # The largest is near the number of positions.
    torch.testing.assert_close(selection.saliency[heard].double(), expected["audio"], rtol=1e-4, atol=1e-5)
    assert selection.kept == expected_columns(pristine, parts, inputs, expected, {"audio": 0.1})


def test_crops_of_an_odd_number_of_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tower mirrors the patch before the edge to make the number even."""
    size = {"image_size": 28, "crop_size": 28}
    model, pristine = phi4("eager", vision=size), phi4("eager", vision=size)
    parts: list[Part] = [Text(3), Image((1, 7, 7)), Text(2)]
    inputs = build_prompt(model.config, *parts, seed=1)
    expected = expected_saliency(pristine, inputs, "paper")
    assert len(expected["image"]) == 2 * 4 * 5 + 1
    selection = select_in(model, inputs, monkeypatch, keep_ratio={"image": 0.4})
    seen = inputs["input_ids"][0] == model.config.vision_config.image_token_id
    torch.testing.assert_close(selection.saliency[seen].double(), expected["image"], rtol=1e-4, atol=1e-5)
    assert selection.kept == expected_columns(pristine, parts, inputs, expected, {"image": 0.4})


def test_windows_by_time() -> None:
    """Two seconds are 25 tokens; sounds side by side do not share a window."""
    model = phi4()
    schedule = Schedule(after_layer={3: StagePruner(0.999)})
    for windows, expected in (("time", [25, 25, 4, 25]), ("runs", [79])):
        with attach(model, schedule, windows=windows) as trace:
            probes.generate(model, prompt(model), 1)
        budgets = trace.stages[0].budgets
        assert budgets is not None and budgets[:, 0].sum() == 0
        assert [int(n) for n in budgets[:, 1]] == expected


def test_unweighted_selection_needs_no_saliency(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 25 tokens of one sound, and of one picture, are known from the call alone."""
    model = phi4()
    schedule = Schedule(DiversitySelector({"audio": 0.5, "image": 0.5}, weighted=False))
    calls = probes.recorded_calls(monkeypatch, DiversitySelector)
    with attach(model, schedule):
        probes.generate(model, prompt(model), 1)
    layout = calls[0]["layout"]
    assert calls[0].get("saliency") is None
    assert [n for _, n in layout.blocks] == [25, 25, 4, 25, 3 * 7 + 1 + 4 * 5]
