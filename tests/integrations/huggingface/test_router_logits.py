"""The loss that balances experts pairs every column of the mask with every layer's router."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner, UnsupportedModelState
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompts import Text, Video, build_prompt

KEEP_ALL = Schedule(before_llm=DiversitySelector(1.0), after_layer={2: StagePruner(1.0)})
DROPS = {"before the LLM": Schedule(DiversitySelector(0.5)), "inside": Schedule(after_layer={3: ModalityDropper()})}
EXPERTS = ["qwen3_omni", "qwen3_vl_moe"]


def model_and_prompt(family: str) -> tuple[nn.Module, dict[str, Any]]:
    model = SMALL[family]("sdpa")
    return model, build_prompt(model.config, Text(5), Video((4, 4, 6), 1.0), Text(4))


@pytest.mark.parametrize("family", EXPERTS)
@pytest.mark.parametrize("given", ["by keyword", "by config"])
@torch.no_grad()
def test_the_balancing_loss(family: str, given: str) -> None:
    model, prompt = model_and_prompt(family)
    asked: dict[str, Any] = {"output_router_logits": True}
    if given == "by config":
        if "output_router_logits" not in inspect.signature(model.forward).parameters:
            pytest.skip("this version of transformers does not look for it there")
        model.config.text_config.output_router_logits = True
        asked = {}
    bare = {name: value for name, value in prompt.items() if name != "attention_mask"}
    for inputs in (prompt, bare):
        expected = model(**inputs, **asked).aux_loss
        with attach(model, KEEP_ALL):
            assert torch.equal(model(**inputs, **asked).aux_loss, expected)
    for schedule in DROPS.values():
        with probes.produced_logits(model) as produced, attach(model, schedule):
            for inputs in (prompt, bare):
                with pytest.raises(UnsupportedModelState, match=r"^output_router_logits: expected False"):
                    model(**inputs, **asked)
            assert produced == []
            model(**prompt, output_router_logits=False)
            text = build_prompt(model.config, Text(6))
            assert model(**text, **asked).aux_loss.isfinite()


@pytest.mark.parametrize("family", ["qwen2_5_omni", "qwen3_vl", "phi4_multimodal"])
@torch.no_grad()
def test_models_without_experts_have_none(family: str) -> None:
    model = SMALL[family]("sdpa")
    prompt = build_prompt(model.config, Text(6))
    with attach(model, DROPS["inside"]):
        expected = model(**prompt).logits
        assert torch.equal(model(**prompt, output_router_logits=True).logits, expected)
