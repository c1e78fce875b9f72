"""Models that peft wraps: `attach` takes the model inside, calls may go through the wrapper."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from torch import nn

from seats_ops import UnsupportedModelState
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompts import Text, Video, build_prompt, stills
from tests.integrations.huggingface.schedules import small_preset
from tests.integrations.huggingface.upstream import CACHE

LORA: dict[str, Any] = {"r": 4, "init_lora_weights": False, "target_modules": ["q_proj", "k_proj", "qkv_proj", "qkv"]}
VIRTUAL: dict[str, Any] = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 4, "token_dim": 64, "num_layers": 7}
PROMPTS = {
    "inputs_embeds": peft.PromptTuningConfig(**VIRTUAL, num_attention_heads=8),
    "input_ids": peft.PrefixTuningConfig(**VIRTUAL, num_attention_heads=2),
}


def prompt_of(model: nn.Module) -> dict[str, Any]:
    return build_prompt(model.config, *stills(model.config, Text(5), Video((4, 4, 6), 1.0), Text(4)))


def schedule_of(model: nn.Module) -> Any:
    return small_preset(model.config, drop_layers=(2, 3, 4), late_layer=6, encoder_ratio_scale=1.7)


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("task", [None, "CAUSAL_LM"])
def test_the_wrapper_answers_as_the_model_in_it(family: str, task: str | None) -> None:
    model = SMALL[family]("sdpa")
    prompt = prompt_of(model)
    torch.manual_seed(0)
    tuned = peft.get_peft_model(model, peft.LoraConfig(**LORA, task_type=task)).eval()
    with attach(model, schedule_of(model)) as trace:
        expected = probes.generate(model, prompt, 4)
        kept = probes.kept_sets(trace)
        probes.assert_same(probes.generate(tuned, prompt, 4), expected)
        assert [x.tolist() for _, x in probes.kept_sets(trace)] == [x.tolist() for _, x in kept]
        with torch.no_grad():
            assert torch.equal(tuned(**prompt).logits, model(**prompt).logits)
        with pytest.raises(UnsupportedModelState, match=r"^guidance_scale"):
            tuned.generate(**prompt, guidance_scale=2.0)


@pytest.mark.parametrize("named", PROMPTS)
def test_virtual_tokens(named: str) -> None:
    """They come as embeddings, or as keys before the prompt."""
    model = SMALL["qwen2_5_omni"]("sdpa")
    tuned = peft.get_peft_model(model, PROMPTS[named]).eval()
    if named == "inputs_embeds" and tuned.word_embeddings is None:
        pytest.skip("peft does not find the embeddings in this version of transformers")
    prompt = prompt_of(model)
    refused = named
    if named == "input_ids" and CACHE == "cache":
        # A peft that still says past_key_values where transformers says cache would lose its keys.
        refused = "(input_ids|past_key_values: expected None beside cache)"
    with probes.produced_logits(model) as produced, attach(model, schedule_of(model)):
        for call in (tuned, tuned.generate):
            with pytest.raises(UnsupportedModelState, match=f"^{refused}"):
                call(**prompt)
        assert produced == []


def test_a_wrapper_is_refused() -> None:
    model = SMALL["qwen2_5_omni"]("sdpa")
    tuned = peft.get_peft_model(model, peft.LoraConfig(**LORA))
    with pytest.raises(TypeError, match="PeftModel"), attach(tuned, schedule_of(model)):
        pass
