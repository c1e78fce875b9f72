"""What a layer started from, and what entered the LLM, against states that hooks saw in a model without a schedule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops import Merge, Modality, ModalityDropper, Schedule, Selection, TokenLayout
from seats_ops.integrations import attach
from tests.custom_stages import every_other
from tests.integrations.huggingface.asking import Asks
from tests.integrations.huggingface.batching import batch_of
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.oracle_decoder import decoder_of
from tests.integrations.huggingface.prompts import Audio, Image, Text, Video, build_prompt, stills

FAMILIES = ["qwen2_5_omni", "qwen3_omni", "qwen3_vl", "phi4_multimodal"]


def prompt_of(config: Any, seed: int = 0) -> dict[str, Any]:
    return build_prompt(
        config, *stills(config, Text(5), Image((1, 4, 6)), Text(2), Video((3, 4, 6)), Text(6)), seed=seed
    )


class States:
    """Inputs and outputs [B, S, D] of the layers of a model, from hooks that are in place while it lasts."""

    def __init__(self, model: nn.Module) -> None:
        self.entered: list[Tensor] = []
        self.left: list[Tensor] = []
        layers = decoder_of(model)[0].layers
        self.handles = [layer.register_forward_pre_hook(self._enter, with_kwargs=True) for layer in layers]
        self.handles += [layer.register_forward_hook(self._leave) for layer in layers]

    def _enter(self, _: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self.entered.append((args[0] if args else kwargs["hidden_states"]).detach())

    def _leave(self, _module: nn.Module, _args: Any, output: Any) -> None:
        self.left.append((output[0] if isinstance(output, tuple) else output).detach())

    def __enter__(self) -> States:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


@torch.no_grad()
def states_of(model: nn.Module, inputs: dict[str, Any]) -> list[Tensor]:
    """[B, S, D] before every layer; DeepStack's additions are in them."""
    with States(model) as states:
        model(**inputs)
    return states.entered


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_drop(family: str) -> None:
    """To the last bit, also after the first layer, and where DeepStack adds to what a layer starts from."""
    model = SMALL[family]("sdpa")
    inputs = prompt_of(model.config)
    expected = states_of(model, inputs)
    stages = {layer: Asks(("previous", "features", "embeddings")) for layer in (1, 2, 4, 6)}
    with torch.no_grad(), attach(model, Schedule(after_layer=stages)):
        model(**inputs)
    for layer, stage in stages.items():
        (seen,) = stage.seen
        assert torch.equal(seen["previous"], expected[layer - 1][0])
        assert torch.equal(seen["features"], expected[layer][0])
        assert torch.equal(seen["embeddings"], expected[0][0])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layer", [1, 3])
def test_behind_other_stages(family: str, layer: int) -> None:
    """Of the tokens left: behind a stage before the LLM, and right behind another one of the same layer."""
    model = SMALL[family]("sdpa")
    inputs = prompt_of(model.config)
    first, second = (
        Asks(("previous",), lambda layout: ~layout.is_modality(Modality.IMAGE)),
        Asks(("previous", "embeddings")),
    )
    third = Asks(("previous", "embeddings"))
    before = Asks(("embeddings",), every_other)
    schedule = Schedule(before, {layer: [first, second, ModalityDropper(), third]})
    whole = states_of(model, inputs)[0][0]
    with torch.no_grad(), attach(model, schedule) as trace, States(model) as states:
        model(**inputs)
    at_layer = states.entered[layer - 1][0]
    assert torch.equal(before.seen[0]["embeddings"], whole)
    columns = trace.stages[0].kept_indices[0]
    assert torch.equal(first.seen[0]["previous"], at_layer)
    for stage, record in ((second, trace.stages[1]), (third, trace.stages[3])):
        here = record.kept_indices[0]
        assert torch.equal(stage.seen[0]["previous"], at_layer[torch.isin(columns, here)])
        assert torch.equal(stage.seen[0]["embeddings"], whole[here])
    if layer > 1:
        # What the stages saw is not what any layer before had started from.
        assert not torch.equal(at_layer, states.entered[layer - 2][0])


@pytest.mark.parametrize("padding", ["left", "right"])
def test_batches(padding: str) -> None:
    model = SMALL["qwen2_5_omni"]("sdpa")
    rows = [
        build_prompt(model.config, Text(5), Video((3, 4, 6)), Text(2), Audio(90), Text(4)),
        build_prompt(model.config, Text(9), seed=1),
        build_prompt(model.config, Text(2), Image((1, 4, 6)), Text(3), seed=2),
    ]
    names = ("previous", "embeddings")
    drop, asks = Asks((), every_other), Asks(names)

    def ask(inputs: dict[str, Any]) -> dict[str, Tensor]:
        asks.seen.clear()
        with torch.no_grad(), attach(model, Schedule(drop, {1: Asks((), every_other), 2: asks})):
            model(**inputs)
        return {name: asks.seen[0][name] for name in names}

    alone = [ask(row) for row in rows]
    together = ask(batch_of(rows, padding))
    for name in names:
        torch.testing.assert_close(together[name], torch.cat([found[name] for found in alone]), rtol=0, atol=1e-4)


def test_beams() -> None:
    model = SMALL["qwen2_5_omni"]("sdpa")
    inputs = prompt_of(model.config)
    found = []
    for options in ({}, {"num_beams": 2}):
        stage = Asks(("previous", "embeddings"))
        with torch.no_grad(), attach(model, Schedule(Asks((), every_other), {2: stage})):
            model.generate(**inputs, max_new_tokens=2, do_sample=False, **options)
        found.append(stage.seen[0])
    for name in ("previous", "embeddings"):
        torch.testing.assert_close(found[0][name], found[1][name], rtol=0, atol=1e-5)


class Merging(Asks):
    merges = True


def test_merges_change_what_the_next_layer_starts_from() -> None:
    """And not what the last one did."""
    model = SMALL["qwen2_5_omni"]("sdpa")
    inputs = prompt_of(model.config)

    def halves(layout: TokenLayout) -> Selection:
        video = layout.is_modality(Modality.VIDEO).nonzero().flatten()
        one, other = video[:2]
        keep_mask = (layout.position >= 0).index_fill(0, other, False)
        return Selection(keep_mask, merge=Merge(one.repeat(2), torch.stack([one, other]), torch.tensor([0.5, 0.5])))

    merging, later = Merging(("features",), halves), Asks(("previous",))
    expected = states_of(model, inputs)
    with torch.no_grad(), attach(model, Schedule(after_layer={2: merging, 3: later})) as trace:
        model(**inputs)
    kept = trace.stages[0].kept_indices[0]
    states, layout = merging.seen[0]["features"], merging.seen[0]["layout"]
    one, other = layout.is_modality(Modality.VIDEO).nonzero().flatten()[:2].tolist()
    merged = states.index_fill(0, torch.tensor(one), 0.0)
    merged[one] = (states[one] + states[other]) / 2
    assert torch.allclose(later.seen[0]["previous"], merged[torch.arange(len(states)) != other])
    assert not torch.equal(later.seen[0]["previous"], expected[2][0][kept])


def test_states_are_given_without_gradients() -> None:
    model = SMALL["qwen2_5_omni"]("sdpa").train()
    stage = Asks(("previous", "embeddings"))
    with attach(model, Schedule(after_layer={2: stage})):
        logits = model(**prompt_of(model.config)).logits
    assert logits.requires_grad
    assert not stage.seen[0]["previous"].requires_grad and not stage.seen[0]["embeddings"].requires_grad
