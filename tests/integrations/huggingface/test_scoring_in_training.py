"""Scoring calls norm and projections of a layer once more: nobody can tell afterwards."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from seats_ops import DiversitySelector, Schedule, StagePruner
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.families.family import find_family
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompts import Text, Video, build_prompt, stills
from tests.integrations.huggingface.schedules import small_preset
from tests.integrations.huggingface.upstream import needs, place, recompute, text_model

KEEP_ALL = Schedule(before_llm=DiversitySelector(1.0), after_layer={2: StagePruner(1.0), 4: StagePruner(1.0)})
LORA: dict[str, Any] = {"r": 4, "lora_dropout": 0.2, "init_lora_weights": False}
QKV = ["q_proj", "k_proj", "v_proj"]
ADAPTERS: dict[str, peft.PeftConfig] = {
    "lora": peft.LoraConfig(**LORA, target_modules=QKV),
    "lora_of_a_causal_lm": peft.LoraConfig(**LORA, target_modules=QKV, task_type="CAUSAL_LM"),
    "lora_with_bias": peft.LoraConfig(**LORA, target_modules=QKV, bias="lora_only", lora_bias=False),
    "dora": peft.LoraConfig(**LORA, target_modules=QKV, use_dora=True),
    "ia3": peft.IA3Config(target_modules=QKV, feedforward_modules=[], init_ia3_weights=False),
    "oft": peft.OFTConfig(r=0, oft_block_size=8, target_modules=["q_proj"], module_dropout=0.2, init_weights=False),
    "loha": peft.LoHaConfig(r=4, target_modules=QKV, rank_dropout=0.2, module_dropout=0.2, init_weights=False),
    "norms": peft.LNTuningConfig(target_modules=["input_layernorm"]),
}


def prompt_of(model: nn.Module) -> dict[str, Any]:
    return build_prompt(model.config, *stills(model.config, Text(5), Video((4, 4, 6), 1.0), Text(4)))


def step(model: nn.Module, tuned: nn.Module, schedule: Schedule | None) -> tuple[Tensor, ...]:
    """Logits and gradients of one step of training, and the random number after it."""
    prompt = prompt_of(model)
    torch.manual_seed(0)
    with attach(model, schedule) if schedule else nullcontext():
        logits = tuned(**prompt, use_cache=False).logits
        logits[0, -1].logsumexp(-1).backward()
    gradients = [p.grad.flatten() for p in tuned.parameters() if p.grad is not None]
    return logits.detach(), torch.cat(gradients), torch.rand(1)


@pytest.mark.parametrize("kind", ADAPTERS)
@needs("checkpointing")
def test_an_adapter_in_training(kind: str) -> None:
    found = []
    for schedule in (None, KEEP_ALL, "pruning", "pruning, recomputed"):
        model = SMALL["qwen2_5_omni"]("sdpa")
        torch.manual_seed(1)
        tuned = peft.get_peft_model(model, ADAPTERS[kind]).train()
        if schedule == "pruning, recomputed":
            recompute(model)
        if isinstance(schedule, str):
            schedule = small_preset(model.config, drop_layers=(2, 3, 4), late_layer=6, encoder_ratio_scale=1.7)
        found.append(step(model, tuned, schedule))
        assert all(module.training for module in tuned.modules())
    plain, kept, pruned, recomputed = found
    for one, other in zip(plain + pruned[:2], kept + recomputed[:2], strict=True):
        assert torch.equal(one, other)
    assert pruned[0].shape[1] < plain[0].shape[1]
    assert torch.equal(pruned[2], recomputed[2])


@pytest.mark.parametrize("family", SMALL)
def test_dropout_wherever_a_model_has_it(family: str) -> None:
    """Towers, embeddings and attention draw what they draw alone."""
    found = []
    for schedule in (None, KEEP_ALL):
        model = SMALL[family]("eager").train()
        for module in model.modules():
            for name in ("p", "dropout", "attention_dropout", "activation_dropout", "dropout_rate"):
                if isinstance(vars(module).get(name), float):
                    setattr(module, name, 0.2)
        found.append(step(model, model, schedule))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(found[0][0], step(SMALL[family]("eager"), SMALL[family]("eager"), None)[0])


class Measuring(nn.Module):
    """A projection that keeps count of its inputs, as observers of quantisation do, and may fail."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.norm = nn.BatchNorm1d(inner.in_features)
        self.register_buffer("largest", torch.zeros(()))
        self.fails: BaseException | None = None
        self.modes: list[bool] = []

    @property
    def out_features(self) -> int:
        return self.inner.out_features

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.training)
        self.largest.copy_(0.9 * self.largest + 0.1 * x.detach().abs().max())
        if self.fails is not None and not self.training:
            raise self.fails
        return self.inner(x + 0 * self.norm(x.flatten(0, -2)).view_as(x))

    def train(self, mode: bool = True) -> nn.Module:
        """Some adapters merge their weights here."""
        assert mode, "flags are not set by way of this"
        return super().train(mode)


def measured(model: nn.Module) -> Measuring:
    attention = find_family(model)[0].text_model(model).layers[1].self_attn
    attention.k_proj = Measuring(attention.k_proj)
    return attention.k_proj


def test_statistics_are_those_of_the_model_alone() -> None:
    found = []
    for schedule in (None, KEEP_ALL):
        model = SMALL["qwen2_5_omni"]("sdpa").train()
        projection = measured(model)
        logits, *_ = step(model, model, schedule)
        found.append([logits, *(value.clone() for value in projection.state_dict().values())])
        assert projection.modes == ([True] if schedule is None else [True, False])
        assert all(module.training for module in model.modules())
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_modes_come_back_whatever_happens(error: BaseException) -> None:
    model = SMALL["qwen2_5_omni"]("sdpa").train()
    projection = measured(model)
    before = {name: value for name, value in model.named_buffers()}
    projection.fails = error
    with attach(model, KEEP_ALL), pytest.raises(type(error)):
        model(**prompt_of(model))
    assert projection.modes == [True, False]
    assert all(module.training for module in model.modules())
    assert all(value is before[name] for name, value in model.named_buffers())


def test_parts_that_are_frozen_in_their_mode_stay_so() -> None:
    model = SMALL["qwen2_5_omni"]("sdpa").train()
    layer = text_model(model).layers[1]
    layer.self_attn.q_proj.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    step(model, model, KEEP_ALL)
    assert {name: module.training for name, module in model.named_modules()} == modes


@pytest.mark.parametrize("line", range(1, 60, 4))
def test_an_interrupt_while_scoring(line: int) -> None:
    """Once the block is left, modules are as they were: in training mode, with the buffers they had."""
    model = SMALL["qwen2_5_omni"]("sdpa").train()
    for layer in text_model(model).layers:
        layer.self_attn.q_proj.register_buffer("seen", torch.zeros(1))
    before = [(module.training, [id(x) for x in module._buffers.values()]) for module in model.modules()]
    seen = 0

    def on_line(frame: Any, event: str, _argument: Any) -> Any:
        nonlocal seen
        if event == "line" and frame.f_code.co_filename.endswith("integrations/huggingface/scores/query.py"):
            seen += 1
            if seen == line:
                sys.settrace(None)
                raise KeyboardInterrupt
        return on_line

    traced = sys.gettrace()
    try:
        with pytest.raises(KeyboardInterrupt), attach(model, Schedule(after_layer={2: StagePruner(0.5)})):
            sys.settrace(on_line)
            model(**prompt_of(model))
    finally:
        sys.settrace(traced)
    assert [(module.training, [id(x) for x in module._buffers.values()]) for module in model.modules()] == before


def test_scores_are_constants_of_forward_mode_too() -> None:
    model = SMALL["qwen2_5_vl"]("eager")
    prompt, weight = prompt_of(model), text_model(model).layers[1].self_attn.q_proj.weight.detach()
    name = place(model, "model.language_model.layers.1.self_attn.q_proj.weight")
    change = torch.full_like(weight, 1e-3)

    def logits(value: Tensor) -> Tensor:
        return torch.func.functional_call(model, {name: value}, kwargs={**prompt, "use_cache": False}).logits[0, -1]

    with attach(model, Schedule(after_layer={2: StagePruner(0.5)})):
        _, slope = torch.func.jvp(logits, (weight,), (change,))
        with torch.no_grad():
            secant = (logits(weight + change) - logits(weight - change)) / 2
    torch.testing.assert_close(slope, secant, rtol=0.02, atol=1e-3)
