"""Weights that accelerate keeps on the disk or in a map, and brings in only for the forward that needs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from torch import nn

from seats_ops import Schedule
from seats_ops.integrations import attach
from seats_ops.operators.inputs import WEIGHTS
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.asking import Asks
from tests.integrations.huggingface.models import golden_thinker, small_thinker
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import place, text_model

HELD_BACK = (1, 2, 3)  # from 0: the layers after which the preset drops tokens, whose weights score them


@pytest.fixture
def attention() -> str:
    return "sdpa"


def device_map(model: nn.Module, num_layers: int) -> dict[str, str]:
    """Some layers on the disk, everything else on the CPU."""
    text = place(model, "model.language_model")
    towers = [place(model, f"model.{name}") for name in ("visual", "audio_tower")]
    parts = [f"{text}.{x}" for x in ("embed_tokens", "norm", "rotary_emb")]
    layers = {f"{text}.layers.{i}": "disk" if i in HELD_BACK else "cpu" for i in range(num_layers)}
    return dict.fromkeys(["lm_head", *towers, *parts], "cpu") | layers


def on_disk(model: nn.Module, folder: Path, **options: Any) -> None:
    dispatch_model(model, device_map(model, 7), main_device="cpu", offload_dir=folder, force_hooks=True, **options)


OFFLOADS: dict[str, Callable[[nn.Module, Path], object]] = {
    "every_part_from_memory": lambda model, _: cpu_offload(model, "cpu"),
    "every_part_and_its_buffers": lambda model, _: cpu_offload(model, "cpu", offload_buffers=True),
    "every_part_from_disk": lambda model, folder: disk_offload(model, str(folder), "cpu"),
    "parts_of_some_layers": on_disk,
    "some_layers_as_a_whole": lambda model, folder: on_disk(
        model, folder, preload_module_classes=["Qwen2_5OmniDecoderLayer"]
    ),
    "some_attentions_as_a_whole": lambda model, folder: on_disk(
        model, folder, preload_module_classes=["Qwen2_5OmniAttention"]
    ),
}


@pytest.fixture(params=OFFLOADS)
def offloaded(request: pytest.FixtureRequest, tmp_path: Path) -> nn.Module:
    """The weights of `thinker`."""
    model = small_thinker("sdpa")
    OFFLOADS[request.param](model, tmp_path)
    assert_held_back(model)
    return model


def assert_held_back(model: Any) -> None:
    """No weight of the layers that score tokens is there outside a forward."""
    for index in HELD_BACK:
        layer = text_model(model).layers[index]
        assert {parameter.device.type for parameter in layer.parameters()} == {"meta"}, f"layer {index + 1}"


def test_generate(thinker: nn.Module, offloaded: nn.Module, clip: dict[str, Any], kv_policy: str) -> None:
    kept, answers = [], []
    for model in (thinker, offloaded):
        with attach(model, SCHEDULES["preset"](model.config), kv_policy=kv_policy) as trace:
            answers.append(probes.generate(model, clip, 4))
        kept.append([(stage.layer, stage.kept_indices[0].tolist()) for stage in trace.stages])
    assert kept[1] == kept[0]
    probes.assert_same(answers[1], answers[0])
    assert_held_back(offloaded)


@torch.no_grad()
def test_forward(thinker: nn.Module, offloaded: nn.Module, clip: dict[str, Any]) -> None:
    logits = []
    for model in (thinker, offloaded):
        with attach(model, SCHEDULES["preset"](model.config)):
            logits.append(model(**clip).logits)
    assert torch.equal(logits[1], logits[0])
    assert_held_back(offloaded)


def test_loaded_with_a_device_map(golden_dir: Path, clip: dict[str, Any], kv_policy: str, tmp_path: Path) -> None:
    """The way of `from_pretrained`."""
    whole = golden_thinker(golden_dir)
    checkpoint = golden_dir / "end_to_end" / "qwen2_5" / "checkpoint"
    parts = type(whole).from_pretrained(checkpoint, device_map=device_map(whole, 8), offload_folder=tmp_path).eval()
    assert_held_back(parts)
    answers = []
    for model in (whole, parts):
        with attach(model, SCHEDULES["preset"](model.config), kv_policy=kv_policy):
            answers.append(probes.generate(model, clip, 4))
    probes.assert_same(answers[1], answers[0])


def test_a_crash_while_scoring_leaves_no_weights_behind(clip: dict[str, Any], tmp_path: Path) -> None:
    model = small_thinker("sdpa")
    OFFLOADS["some_layers_as_a_whole"](model, tmp_path)
    schedule = SCHEDULES["preset"](model.config)

    with attach(model, schedule):
        expected = probes.generate(model, clip, 3)
    norm: Any = text_model(model).layers[1].input_layernorm
    calls: list[int] = []

    def second_call(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("while scoring")

    handle = norm.register_forward_hook(second_call)
    with pytest.raises(KeyError, match="while scoring"), attach(model, schedule):
        probes.generate(model, clip, 3)
    handle.remove()
    assert_held_back(model)
    with attach(model, schedule):
        probes.assert_same(probes.generate(model, clip, 3), expected)


def test_scores_of_every_query_and_weights(offloaded: nn.Module, clip: dict[str, Any]) -> None:
    """After layer 2 and with the weights of layers 2 and 3, all of them held back."""
    names = [f"scores:{query}/{weights}" for query in ("last_text", "text_max") for weights in WEIGHTS]
    found = []
    for model in (small_thinker("sdpa"), offloaded):
        stages = [Asks((name,)) for name in names]
        with torch.no_grad(), attach(model, Schedule(after_layer={2: stages})):
            model(**clip)
        found.append([x for stage in stages for key, x in stage.seen[0].items() if key != "layout"])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert_held_back(offloaded)
