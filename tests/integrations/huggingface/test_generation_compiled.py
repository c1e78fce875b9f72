"""torch.compile, layer by layer: in a model that has run before it was attached, and inside of a block."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.prompts import Text, Video, build_prompt
from tests.integrations.huggingface.upstream import text_model

SCHEDULE = Schedule(before_llm=DiversitySelector(0.8), after_layer={1: StagePruner(0.5), 2: ModalityDropper()})
# What comes out of compiled code is compared with code that is not: nothing else may differ.
BACKEND = "eager"


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
    torch.compiler.reset()


def build() -> nn.Module:
    return small_thinker(text={"num_hidden_layers": 3})


def compile_layer(layer: nn.Module) -> None:
    layer.compile(backend=BACKEND)


def compile_forward(layer: nn.Module) -> None:
    layer.forward = torch.compile(layer.forward, backend=BACKEND)


@pytest.mark.parametrize(("how", "warm"), [(compile_layer, True), (compile_forward, False)])
def test_layers_one_by_one(how: Callable[[nn.Module], None], warm: bool) -> None:
    model, plain = build(), build()
    clip = build_prompt(model.config, Text(4), Video((3, 4, 6), 1.0, mel_frames=230), Text(5))
    untouched = probes.generate(plain, clip, 2)
    expected = []
    for schedule in (SCHEDULE, Schedule(after_layer={1: ModalityDropper(("audio",))})):
        with attach(plain, schedule, kv_policy="per-layer") as trace:
            expected.append((schedule, probes.generate(plain, clip, 2), list(trace.kv_lengths)))
    layers = text_model(model).layers[2:]
    if warm:
        for layer in layers:
            how(layer)
        probes.assert_same(probes.generate(model, clip, 2), untouched)
    for schedule, answer, kv_lengths in expected:
        with attach(model, schedule, kv_policy="per-layer") as trace:
            if not warm and schedule is SCHEDULE:
                for layer in layers:
                    how(layer)
            probes.assert_same(probes.generate(model, clip, 2), answer)
            assert trace.kv_lengths == kv_lengths
    probes.assert_same(probes.generate(model, clip, 2), untouched)
