"""Each argument that the table refuses is refused by name, wherever it is given, and before the model answers."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GenerationConfig

from seats_ops import Schedule, UnsupportedModelState
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.families.family import find_family
from seats_ops.integrations.huggingface.guards.arguments import FORWARD, GENERATE, REFUSED
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.guards.refusals import LATE
from tests.integrations.huggingface.prompts import Text, Video, build_prompt, stills

OF_FORWARD = [name for name, argument in FORWARD.items() if argument.treatment == REFUSED]
OF_GENERATE = [name for name, argument in GENERATE.items() if argument.treatment == REFUSED]
SETTINGS = [name for name in OF_GENERATE if hasattr(GenerationConfig(), name)]
# Of earlier or later versions, of other models, or misspelt.
UNKNOWN = ["cache_position", "rope_deltas", "token_type_ids", "decoder_input_ids", "image_cu_seqlens", "atention_mask"]


@pytest.fixture
def attention() -> str:
    return "sdpa"


def value_of(name: str) -> Any:
    """Something that none of them takes for nothing."""
    return torch.tensor([[0, 3]]) if name.startswith(("cu_seq", "labels", "inputs_embeds", "negative")) else 3


@pytest.mark.parametrize("family", SMALL)
def test_forward_refuses(family: str) -> None:
    model = SMALL[family]("sdpa")
    prompt = build_prompt(model.config, *stills(model.config, Text(5), Video((3, 4, 6)), Text(4)))
    with probes.produced_logits(model) as produced, attach(model, LATE):
        for name in (*OF_FORWARD, *UNKNOWN):
            for value in (value_of(name), False):
                with pytest.raises(UnsupportedModelState, match=f"^{name}: expected None, got .*: "):
                    model(**prompt, **{name: value})
            assert produced == [], name
        with torch.no_grad():
            # transformers itself stumbles over `is_causal`, whatever it is.
            model(**prompt, **dict.fromkeys({*OF_FORWARD, *UNKNOWN} - {"is_causal"}))
    assert produced != []


def test_forward_refuses_it_by_position(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    assert list(inspect.signature(thinker.forward).parameters).index("inputs_embeds") == 11
    embeds = torch.zeros(1, 4, 64)
    with attach(thinker, LATE), pytest.raises(UnsupportedModelState, match=r"^inputs_embeds"):
        thinker(silent_clip["input_ids"], *[None] * 10, embeds)


def test_generate_refuses(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    assert len(SETTINGS) > 10
    with probes.produced_logits(thinker) as produced, attach(thinker, LATE):
        for name in (*OF_GENERATE, *OF_FORWARD, *UNKNOWN):
            if name == "labels":
                continue
            with pytest.raises(UnsupportedModelState, match=f"^{name}: expected .*, got "):
                thinker.generate(**silent_clip, **{name: value_of(name)})
        for name in SETTINGS:
            config = GenerationConfig()
            setattr(config, name, value_of(name))
            with pytest.raises(UnsupportedModelState, match=f"^{name}: expected .*, got "):
                thinker.generate(**silent_clip, generation_config=config)
        for name in SETTINGS:
            before = getattr(thinker.generation_config, name)
            setattr(thinker.generation_config, name, value_of(name))
            with pytest.raises(UnsupportedModelState, match=f"^{name}: expected .*, got "):
                thinker.generate(**silent_clip)
            setattr(thinker.generation_config, name, before)
        assert produced == []


def test_values_that_ask_for_nothing_pass(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    nothing = {name: argument.harmless[0] for name, argument in GENERATE.items() if argument.harmless}
    nothing = {name: value for name, value in nothing.items() if name in SETTINGS}
    assert len(nothing) > 4
    with attach(thinker, LATE):
        expected = probes.generate(thinker, silent_clip, 3)
        probes.assert_same(probes.generate(thinker, silent_clip, 3, **nothing), expected)
        labels = {"labels": silent_clip["input_ids"]}
        probes.assert_same(probes.generate(thinker, silent_clip | labels, 3), expected)


def test_what_the_author_of_a_family_vouches_for_passes(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    family = dataclasses.replace(find_family(thinker)[0], arguments=("token_type_ids",))
    with torch.no_grad(), attach(thinker, LATE, family=family):
        expected = thinker(**silent_clip).logits
        given = thinker(**silent_clip, token_type_ids=torch.zeros_like(silent_clip["input_ids"])).logits
        with pytest.raises(UnsupportedModelState, match=r"^rope_deltas: expected None"):
            thinker(**silent_clip, rope_deltas=1)
    assert torch.equal(given, expected)


def test_a_decoder_that_sees_what_comes_later(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    thinker.config.text_config.is_causal = False
    with attach(thinker, Schedule()), pytest.raises(UnsupportedModelState, match=r"^is_causal"):
        thinker(**silent_clip)
