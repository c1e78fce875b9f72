"""Every named method in a model: attached, run on a short prompt, and leaving as many tokens as was said before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops import Both, Schedule, TokenLayout, UnsupportedModelState
from seats_ops.cost import PromptLengths, token_counts
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.prompt.token_layout import MediaTokens, build_token_layout
from seats_ops.methods.method import inputs_of
from seats_ops.operators.stage import count_kind_of
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.asking import Asks
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.prompts import Audio, Text, Video, build_prompt
from tests.methods.reachable import schedule_of
from tests.methods.table import own_methods

METHODS = own_methods()
PARTS = [Text(5), Video((9, 8, 8)), Text(2), Audio(333), Text(6)]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """As deep as the published models, whose layers methods name."""
    return small_thinker(text={"num_hidden_layers": 28})


@pytest.fixture(scope="module")
def inputs(model: Any) -> dict[str, Any]:
    return build_prompt(model.config, *PARTS)


@pytest.fixture(scope="module")
def lengths(model: nn.Module, inputs: dict[str, Any]) -> PromptLengths:
    stage = Asks(("grid",))
    with torch.no_grad(), attach(model, Schedule(stage)):
        probes.generate(model, inputs, 1)
    plain = build_token_layout(
        inputs["input_ids"], MediaTokens.from_config(model.config), video_grid_thw=inputs["video_grid_thw"]
    )
    return replace(PromptLengths.from_layout(plain), shapes=stage.seen[0]["layout"].shapes)


def by_place(layout: TokenLayout) -> Tensor:
    """What another model might say of the tokens."""
    return torch.linspace(0.0, 1.0, len(layout))


@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_a_method_leaves_what_was_said(name: str, model: Any, inputs: dict[str, Any], lengths: PromptLengths) -> None:
    schedule = schedule_of(METHODS[name], model.config)
    asked = inputs_of(schedule)
    external = {item.partition(":")[2]: by_place for item in asked if item.startswith("external:")}
    if "saliency:cls" in asked:
        with pytest.raises(UnsupportedModelState, match="'saliency:cls'"):
            attach(model, schedule, external=external)
        return
    with attach(model, schedule, external=external) as trace:
        probes.generate(model, inputs, 1)
    said, stages = token_counts(schedule, lengths), schedule.stages()
    assert len(trace.stages) == len(said) == len(stages) > 0
    certain = True
    for (layer, stage), count, found in zip(stages, said, trace.stages, strict=True):
        assert (count.name, count.layer) == (found.name, found.layer) == (type(stage).__name__, layer)
        assert count.low <= found.num_tokens <= count.high
        certain = certain and count_kind_of(stage) in ("shape", "reconciled")
        assert not certain or found.num_tokens == count.total
    assert trace.stages[-1].num_tokens < len(inputs["input_ids"][0])


@torch.no_grad()
def test_keys_stay_inside_a_stage_of_stages(model: Any, inputs: dict[str, Any]) -> None:
    alone = schedule_of(METHODS["v2drop"], model.config)
    wrapped = Schedule(alone.before_llm, {layer: Both(*stages, *stages) for layer, stages in alone.after_layer.items()})
    held = []
    for schedule in (alone, wrapped):
        with attach(model, schedule, kv_policy="uniform") as trace:
            probes.generate(model, inputs, 1)
        held.append(trace.kv_lengths)
    assert held[0] == held[1] and held[0][0] > held[0][-1]
