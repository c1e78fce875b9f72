"""Copies of a model that is attached, and files of it: they belong to nobody."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.hooks import Hook
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.models import small_omni
from tests.integrations.huggingface.schedules import SCHEDULES


@pytest.fixture
def attention() -> str:
    return "sdpa"


def saved(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch_save": saved,
}


def hooks_of(model: nn.Module) -> list[Any]:
    return [hook for m in model.modules() for hook in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_made_inside_the_block(thinker: nn.Module, clip: dict[str, Any], how: str) -> None:
    schedule = SCHEDULES["preset"](thinker.config)
    plain = probes.generate(thinker, clip, 2)
    with attach(thinker, schedule) as trace:
        pruned = probes.generate(thinker, clip, 2)
        seen = list(trace.stages)
        twin = COPIES[how](thinker)
        assert not any(isinstance(hook, Hook) for hook in hooks_of(twin))
        probes.assert_same(probes.generate(twin, clip, 2), plain)
        assert trace.stages == seen
        # In the same block, and with the original next to it.
        with attach(twin, schedule):
            probes.assert_same(probes.generate(twin, clip, 2), pruned)
        probes.assert_same(probes.generate(thinker, clip, 2), pruned)
    probes.assert_same(probes.generate(twin, clip, 2), plain)
    assert hooks_of(twin) == []
    assert twin.generate.__self__ is twin and twin.generate.__func__ is type(twin).generate


@pytest.mark.filterwarnings("ignore:attach. no forward")
def test_a_copy_of_a_full_model(clip: dict[str, Any]) -> None:
    model = small_omni()
    schedule = SCHEDULES["preset"](model.config)
    plain = probes.generate(model.thinker, clip, 2)
    with attach(model, schedule):
        twin = copy.deepcopy(model)
    probes.assert_same(probes.generate(twin.thinker, clip, 2), plain)
    with attach(twin, schedule) as trace:
        probes.generate(twin.thinker, clip, 2)
    assert trace.stages and hooks_of(twin) == []


@pytest.mark.filterwarnings("ignore:attach. no forward")
def test_a_copy_keeps_hooks_and_generate_of_others(thinker: nn.Module, clip: dict[str, Any]) -> None:
    seen: list[int] = []

    def own(*_: Any, **__: Any) -> str:
        return "own"

    thinker.generate = own
    thinker.lm_head.register_forward_hook(_Note(seen))
    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        twin = copy.deepcopy(thinker)
    assert twin.generate() == "own"
    with torch.no_grad():
        twin(**clip)
    assert seen == [1]


class _Note:
    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    def __deepcopy__(self, _: Any) -> _Note:
        return self

    def __call__(self, *_: Any) -> None:
        self.seen.append(1)
