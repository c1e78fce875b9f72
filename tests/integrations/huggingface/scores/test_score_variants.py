"""Scores of every query and weights, against attention that an eager decoder computed, and plain float64."""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from seats_ops import ModalityDropper, Schedule
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.scores import query_rows
from seats_ops.operators.inputs import QUERIES
from tests.custom_stages import every_other
from tests.integrations.huggingface.asking import Asks
from tests.integrations.huggingface.batching import batch_of
from tests.integrations.huggingface.families.families import SMALL, pristine_of
from tests.integrations.huggingface.oracle_decoder import decoder_of
from tests.integrations.huggingface.prompts import Image, Text, Video, build_prompt, moving, stills

LAYER = 3
PARTS = [Text(5), Video((3, 4, 6)), Text(9)]
END = [288, 20, 287, 21, 20]  # of a turn, and the opening of the next
ROWS = ("row[4]", "row[-2]")
FAMILIES = ["qwen2_5_omni", "qwen3_omni", "qwen3_vl", "phi4_multimodal"]


def model_of(family: str, attention: str = "eager") -> nn.Module:
    model = SMALL[family](attention)
    model.generation_config.eos_token_id = [288, 289]
    return model


def prompt_of(config: Any, seed: int = 0) -> dict[str, Any]:
    inputs = build_prompt(config, *stills(config, *PARTS), seed=seed)
    inputs["input_ids"][0, -5:] = torch.tensor(END)
    return inputs


def text_columns(seen: dict[str, Any]) -> list[int]:
    return (seen["layout"].modality == 0).nonzero().flatten().tolist()


def of_queries(rows: Tensor, text: list[int], query: str) -> Tensor:
    """[T] from [T, T] probabilities, mean over heads; the question is the four tokens before those of END."""
    total = len(rows)
    question = list(range(total - 9, total - 5))
    match query:
        case "last_text":
            return rows[text[-1]]
        case "instruction":
            return rows[question[-1]]
        case "text_mean":
            return sum(rows[i] for i in question) / len(question)
        case "row[4]" | "row[-2]":
            return rows[int(query[4:-1])]
        case "text_max":
            return torch.stack([rows[i] for i in question]).max(0).values
        case _:
            return sum(rows[i] for i in text) / len(text)


class Watched:
    """Layers of an eager decoder: what they attended to [H, T, T], and what they started from and came to [T, D]."""

    def __init__(self, model: nn.Module, inputs: dict[str, Any]) -> None:
        decoder = decoder_of(model)[0]
        self.weights: dict[int, Tensor] = {}
        self.states: list[Tensor] = []
        numbers = {id(layer.self_attn): i for i, layer in enumerate(decoder.layers)}
        modeling: Any = sys.modules[type(decoder.layers[0].self_attn).__module__]
        original = modeling.eager_attention_forward
        self.rotary: Any = None

        def recording(module: nn.Module, *args: Any, **options: Any) -> Any:
            output, weights = original(module, *args, **options)
            if id(module) in numbers:
                self.weights[numbers[id(module)] + 1] = weights[0].double()
            return output, weights

        def entering(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            self.states.append((args[0] if args else kwargs["hidden_states"])[0].double())
            self.rotary = tuple(x[0].double() for x in kwargs["position_embeddings"])

        handles = [layer.register_forward_pre_hook(entering, with_kwargs=True) for layer in decoder.layers]
        with torch.no_grad(), mock.patch.object(modeling, "eager_attention_forward", recording):
            model(**inputs)
        for handle in handles:
            handle.remove()
        self.layers = decoder.layers

    def seen(self, number: int, states: Tensor) -> Tensor:
        """[T, T], mean over heads: what layer `number` (1-based) sees in these states if nothing hides a key."""
        layer = self.layers[number - 1]
        attention, (cos, sin) = layer.self_attn, self.rotary
        size = attention.head_dim
        normed = states / (states.pow(2).mean(-1, keepdim=True) + layer.input_layernorm.variance_epsilon).sqrt()
        normed = normed * layer.input_layernorm.weight.double()
        if hasattr(attention, "qkv_proj"):
            both = normed @ attention.qkv_proj.weight.double().T
            keys = attention.num_key_value_heads * size
            q, k = both[:, : -2 * keys], both[:, -2 * keys : -keys]
        else:
            q, k = (
                normed @ linear.weight.double().T + (0 if linear.bias is None else linear.bias.double())
                for linear in (attention.q_proj, attention.k_proj)
            )
        q, k = (x.view(len(x), -1, size) for x in (q, k))
        if hasattr(attention, "q_norm"):
            q, k = (
                x / (x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon).sqrt() * norm.weight.double()
                for x, norm in ((q, attention.q_norm), (k, attention.k_norm))
            )
        q, k = turned(q, cos, sin), turned(k, cos, sin)
        found = torch.zeros(len(q), len(q), dtype=torch.float64)
        for head in range(q.shape[1]):
            key = k[:, head // (q.shape[1] // k.shape[1])]
            found += (q[:, head] @ key.T * size**-0.5).softmax(-1) / q.shape[1]
        return found


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[T, H, D] in the rotary embedding of its first dimensions, halves as pairs."""
    width = cos.shape[-1]
    half = width // 2
    found = x.clone()
    for i in range(half):
        a, b = x[..., i], x[..., i + half]
        found[..., i] = a * cos[:, i, None] - b * sin[:, i, None]
        found[..., i + half] = b * cos[:, i + half, None] + a * sin[:, i + half, None]
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_query_and_weights(family: str, attention: str) -> None:
    model = model_of(family, attention)
    inputs = prompt_of(model.config)
    names = [f"scores:{query}/{weights}" for query in (*QUERIES, *ROWS) for weights in ("own", "next", "attention")]
    stages = [Asks((name,)) for name in names]
    with torch.no_grad(), attach(model, Schedule(after_layer={LAYER: stages})):
        model(**inputs)
    watched = Watched(pristine_of(family), inputs)
    after = watched.states[LAYER]
    rows = {
        "own": watched.seen(LAYER, after),
        "next": watched.seen(LAYER + 1, after),
        "attention": watched.weights[LAYER].mean(0),
    }
    for name, stage in zip(names, stages, strict=True):
        query, weights = name.removeprefix("scores:").split("/")
        (seen,) = stage.seen
        got = seen["scores" if name == "scores:last_text/own" else name]
        expected = of_queries(rows[weights], text_columns(seen), query)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), expected, rtol=1e-3, atol=1e-6)
        if query != "text_max":
            assert float(got.sum()) == pytest.approx(1, rel=1e-5)
    assert (rows["own"] - rows["next"]).abs().max() > 1e-2
    assert (rows["own"] - rows["attention"]).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["qwen2_5_omni", "phi4_multimodal"])
def test_attention_of_the_first_layer(family: str) -> None:
    """Nothing precedes it whose output could be remembered."""
    model = model_of(family)
    inputs = prompt_of(model.config)
    stage = Asks(("scores:instruction/attention",))
    with torch.no_grad(), attach(model, Schedule(after_layer={1: stage})):
        model(**inputs)
    watched = Watched(pristine_of(family), inputs)
    expected = of_queries(watched.weights[1].mean(0), [], "instruction")
    torch.testing.assert_close(stage.seen[0][stage.inputs[0]].double(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("query", [*QUERIES, *ROWS])
def test_attention_after_a_drop(query: str) -> None:
    """As the layer ran on the tokens that an earlier stage left; what is dropped right behind it no longer counts."""
    model = model_of("qwen2_5_omni")
    inputs = prompt_of(model.config)
    name = f"scores:{query}/attention"
    first, second = Asks((name,), every_other), Asks((name,))
    with torch.no_grad(), attach(model, Schedule(Asks((), every_other), {LAYER: [first, ModalityDropper(), second]})):
        weights: list[Tensor] = []
        attention = decoder_of(model)[0].layers[LAYER - 1].self_attn
        handle = attention.register_forward_hook(lambda module, args, output: weights.append(output[1][0].double()))
        model(**inputs)
        handle.remove()
    rows = weights[0].mean(0)
    text = text_columns(first.seen[0])
    expected = of_queries(rows, text, query)
    torch.testing.assert_close(first.seen[0][name].double(), expected, rtol=1e-3, atol=1e-6)
    # Of single heads, over the text that is left.
    left = weights[0][:, :, text] / weights[0][:, :, text].sum(-1, keepdim=True)
    mean = left.mean(0)[text]
    expected = of_queries(mean, list(range(len(text))), query)
    torch.testing.assert_close(second.seen[0][name].double(), expected, rtol=1e-3, atol=1e-6)


def test_batches() -> None:
    model = model_of("qwen2_5_omni", "sdpa")
    rows = [
        prompt_of(model.config, 1),
        build_prompt(model.config, Text(6)),
        build_prompt(model.config, Text(3), Image((1, 4, 6)), Text(7), seed=3),
    ]
    names = [f"scores:{query}/{weights}" for query in (*QUERIES, *ROWS) for weights in ("own", "next", "attention")]

    def ask(inputs: dict[str, Any], **options: Any) -> list[Tensor]:
        stages = [Asks((name,)) for name in names]
        with torch.no_grad(), attach(model, Schedule(after_layer={LAYER: stages})):
            model.generate(**inputs, max_new_tokens=2, do_sample=False, **options)
        return [next(x for key, x in stage.seen[0].items() if key != "layout") for stage in stages]

    together, copied, alone = ask(batch_of(rows)), ask(batch_of(rows), num_beams=2), [ask(row) for row in rows]
    for number in range(len(names)):
        expected = torch.cat([found[number] for found in alone])
        torch.testing.assert_close(together[number], expected, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(copied[number], expected, rtol=1e-3, atol=1e-6)


def test_rows_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("qwen2_5_omni", "sdpa")
    inputs = prompt_of(model.config)
    names = [f"scores:{query}/attention" for query in ("text_mean", "text_max", "rows")]
    found = []
    for cells in (1, 1000, 2**22):
        monkeypatch.setattr(query_rows, "CELLS", cells)
        stages = [Asks((name,)) for name in names]
        with torch.no_grad(), attach(model, Schedule(after_layer={LAYER: stages})):
            model(**inputs)
        found.append([stage.seen[0][name] for name, stage in zip(names, stages, strict=True)])
    for one, other in ((found[0], found[2]), (found[1], found[2])):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_a_question_that_is_gone() -> None:
    """The last token of text takes its place."""
    model = model_of("qwen2_5_omni", "sdpa")
    inputs = prompt_of(model.config)
    drop = Asks((), lambda layout: ~(layout.is_modality(0) & (layout.position < layout.position.max())))
    names = ("scores:instruction/own", "scores:text_mean/own", "scores:text_max/own", "scores:rows/own", "scores")
    stages = [Asks((name,)) for name in names]
    with torch.no_grad(), attach(model, Schedule(drop, {LAYER: stages})):
        model(**inputs)
    *others, last = (stage.seen[0][name] for name, stage in zip(names, stages, strict=True))
    for scores in others:
        torch.testing.assert_close(scores, last, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("place", [-7, 6])
def test_a_row_that_a_prompt_does_not_have(place: int) -> None:
    model = model_of("qwen2_5_omni", "sdpa")
    rows = [prompt_of(model.config), build_prompt(model.config, Text(6))]
    with attach(model, Schedule(after_layer={LAYER: Asks((f"scores:row[{place}]/own",))})):
        with pytest.raises(ValueError, match=rf"row\[{place}\] of prompt 1, expected a place in its 6 tokens"):
            model(**batch_of(rows))
        model(**rows[0])


@pytest.mark.parametrize("name", ["scores:rows/next", "scores:instruction/attention"])
def test_training_is_undisturbed(name: str) -> None:
    """Modules that are called once more are as they were: in training mode, without gradients."""
    model = model_of("qwen2_5_omni", "sdpa").train()
    stage = Asks((name, "features"))
    with attach(model, Schedule(after_layer={LAYER: stage})):
        logits = model(**prompt_of(model.config)).logits
    assert all(module.training for module in model.modules())
    assert logits.requires_grad and not stage.seen[0][name].requires_grad


def test_prompts_have_a_question() -> None:
    """`of_queries` counts on where it stands."""
    for family in FAMILIES:
        model = model_of(family)
        inputs = prompt_of(model.config)
        stage = Asks(("question",))
        with torch.no_grad(), attach(model, Schedule(stage)):
            model(**inputs)
        total = inputs["input_ids"].shape[1]
        assert stage.seen[0]["layout"].question.nonzero().flatten().tolist() == list(range(total - 9, total - 5))
        assert moving(model.config) in ("video", "audio")
