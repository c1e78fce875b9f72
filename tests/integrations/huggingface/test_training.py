"""Training mode: gradients of single prompts, of padded batches, and with activations computed twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.batching import batch_of, offsets, rows_of
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.oracle import differentiable_logits
from tests.integrations.huggingface.prompts import Text, Video, build_prompt
from tests.integrations.huggingface.schedules import SCHEDULES, small_preset
from tests.integrations.huggingface.upstream import needs, recompute, weight

NAMES = ["preset", "droppers_at_odd_layers"]
WEIGHTS = (
    "model.language_model.embed_tokens.weight",
    "model.language_model.layers.0.mlp.up_proj.weight",
    "model.language_model.layers.2.self_attn.v_proj.weight",
    "model.language_model.layers.6.self_attn.k_proj.weight",
    "model.visual.blocks.0.mlp.up_proj.weight",
    "model.audio_tower.layers.0.fc1.weight",
    "lm_head.weight",
)


def backward(model: nn.Module, inputs: dict[str, Any], **options: Any) -> list[Tensor]:
    """Gradients of the sum of squares of every row's last logits."""
    model.zero_grad()
    model(**inputs, **options).logits[:, -1].square().sum().backward()
    return [weight(model, name).grad.clone() for name in WEIGHTS]


def assert_close(got: list[Tensor], expected: list[Tensor]) -> None:
    for name, one, other in zip(WEIGHTS, got, expected, strict=True):
        assert other.abs().max() > 1e-3, name
        assert (one - other).abs().max() < 1e-4 * other.abs().max(), name


@pytest.fixture
def training(attention: str) -> nn.Module:
    return small_thinker(attention).train()


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt(training: nn.Module, pristine: nn.Module, clip: dict[str, Any], name: str) -> None:
    with attach(training, SCHEDULES[name](training.config)) as trace:
        got = backward(training, clip)
    pristine.zero_grad()
    logits = differentiable_logits(pristine, clip, probes.kept_sets(trace), "uniform")[-1]
    expected = torch.autograd.grad(logits.square().sum(), [weight(pristine, name) for name in WEIGHTS])
    assert_close(got, list(expected))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch(training: nn.Module, pristine: nn.Module, name: str, side: str) -> None:
    """The sum of what the oracle gives for every row; padding adds nothing."""
    rows = rows_of(training.config, "interleaved")
    batch = batch_of(rows, side)
    with attach(training, SCHEDULES[name](training.config)) as trace:
        got = backward(training, batch)
    expected = [torch.zeros_like(gradient) for gradient in got]
    for i, (row, first) in enumerate(zip(rows, offsets(batch), strict=True)):
        kept = [(stage.layer, stage.kept_indices[i] - first) for stage in trace.stages]
        logits = differentiable_logits(pristine, row, kept, "uniform")[-1]
        weights = [weight(pristine, name) for name in WEIGHTS]
        gradients = torch.autograd.grad(logits.square().sum(), weights, allow_unused=True)
        expected = [e if g is None else e + g for e, g in zip(expected, gradients, strict=True)]
    assert_close(got, expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("kind", ["clip", "batch"])
@needs("checkpointing")
def test_gradient_checkpointing(
    training: nn.Module, clip: dict[str, Any], reentrant: bool, kind: str, name: str
) -> None:
    """Layers run once more on the way back, on what was left for them the first time, and nothing is selected anew."""
    inputs = clip if kind == "clip" else batch_of(rows_of(training.config, "interleaved"))
    schedule = SCHEDULES[name](training.config)
    with attach(training, schedule):
        expected = backward(training, inputs, use_cache=False)
    recompute(training, {"use_reentrant": reentrant})
    with attach(training, schedule) as trace:
        got = backward(training, inputs, use_cache=False)
        stages = len(trace.stages)
    assert stages == sum(1 for _ in schedule.stages())
    for name, one, other in zip(WEIGHTS, got, expected, strict=True):
        assert torch.equal(one, other), name


@needs("checkpointing")
def test_the_way_back_may_come_after_the_block(training: nn.Module, clip: dict[str, Any]) -> None:
    """Also where layers run once more then."""
    schedule = SCHEDULES["preset"](training.config)
    with attach(training, schedule):
        expected = backward(training, clip, use_cache=False)
    recompute(training)
    training.zero_grad()
    with attach(training, schedule):
        loss = training(**clip, use_cache=False).logits[:, -1].square().sum()
    loss.backward()
    for name, other in zip(WEIGHTS, expected, strict=True):
        assert torch.equal(weight(training, name).grad, other), name


def test_a_step_of_training_and_then_an_answer(training: nn.Module, clip: dict[str, Any]) -> None:
    """Weights move, and the next prefill selects with the new ones."""
    schedule = SCHEDULES["preset"](training.config)
    optimizer = torch.optim.SGD(training.parameters(), lr=1e-3)
    with attach(training, schedule):
        backward(training, clip)
        optimizer.step()
        after = probes.generate(training.eval(), clip, 3)
    again = small_thinker(training.config._attn_implementation)
    again.load_state_dict(training.state_dict())
    with attach(again, schedule):
        probes.assert_same(probes.generate(again, clip, 3), after)


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_omni"])
@needs("checkpointing")
def test_features_that_join_later_layers(family: str) -> None:
    """DeepStack features of dropped tokens get no gradient; those that join get that of their rows."""
    model = SMALL[family]("sdpa").train()
    prompts = ([Text(5), Video((6, 4, 6)), Text(4)], [Text(3), Video((3, 4, 8)), Text(6)])
    rows = [build_prompt(model.config, *parts, seed=1) for parts in prompts]
    schedule = small_preset(model.config, drop_layers=(1, 3, 4), late_layer=6)
    names = [name for name, value in model.named_parameters() if "merger_list" in name and value.dim() == 2]
    assert len(names) == 6
    found = []
    for inputs, again in ((rows[0], False), (rows[1], False), (batch_of(rows), False), (batch_of(rows), True)):
        if again:
            recompute(model, {"use_reentrant": True})
        model.zero_grad()
        with attach(model, schedule):
            model(**inputs, use_cache=False).logits[:, -1].square().sum().backward()
        found.append([weight(model, name).grad.clone() for name in names])
    for first, second, both, recomputed in zip(*found, strict=True):
        assert both.abs().max() > 1e-3
        assert (both - first - second).abs().max() < 1e-4 * both.abs().max()
        assert torch.equal(recomputed, both)
