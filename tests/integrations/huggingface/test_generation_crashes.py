"""Something breaks inside `generate`: the model, the context and later calls are as if it had not happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner, UnsupportedModelState
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.batching import answers, batch_of, rows_of
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import CACHE, cache_of, text_model, vision_tower


class _Broken(Exception):
    pass


@dataclass
class _Fuse:
    """Lets a number of calls pass and raises at the next."""

    passing: int
    error: type[BaseException] = _Broken

    def __call__(self, *_: Any, **__: Any) -> None:
        self.passing -= 1
        if self.passing < 0:
            raise self.error


@contextmanager
def hooked(module: nn.Module, fuse: _Fuse) -> Iterator[None]:
    handle = module.register_forward_pre_hook(fuse)
    try:
        yield
    finally:
        handle.remove()


class _Processor:
    def __init__(self, fuse: _Fuse) -> None:
        self.fuse = fuse

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.fuse()
        return scores


def break_down(model: nn.Module, inputs: dict[str, Any], place: str, error: type[BaseException]) -> None:
    """`generate` in an attached model, which breaks at `place`."""
    layers = text_model(model).layers
    fuse, options = _Fuse(0, error), {}
    broken: Any = hooked(layers[3].mlp, fuse)
    if place == "layer_while_decoding":
        broken = hooked(layers[3].mlp, _Fuse(2, error))
    elif place == "head_while_decoding":
        broken = hooked(model.lm_head, _Fuse(1, error))
    elif place == "selector":
        broken = patch.object(DiversitySelector, "__call__", fuse)
    elif place == "pruner":
        broken = patch.object(StagePruner, "select", fuse)
    elif place == "dropper":
        broken = patch.object(ModalityDropper, "__call__", fuse)
    elif place == "logits_processor":
        broken, options = hooked(model, _Fuse(99)), {"logits_processor": [_Processor(_Fuse(1, error))]}
    with broken, pytest.raises(error):
        answers(model, inputs, 4, **options)


PLACES = [
    "layer",
    "layer_while_decoding",
    "head_while_decoding",
    "selector",
    "pruner",
    "dropper",
    "logits_processor",
]


@pytest.mark.parametrize(
    ("attention", "kv_policy", "error"), [("sdpa", "per-layer", _Broken), ("eager", "uniform", KeyboardInterrupt)]
)
@pytest.mark.parametrize("place", PLACES)
def test_a_generation_that_breaks(
    thinker: nn.Module, clip: dict[str, Any], kv_policy: str, place: str, error: type[BaseException]
) -> None:
    schedule = SCHEDULES["preset"](thinker.config)
    batch = batch_of(rows_of(thinker.config, "interleaved"))
    plain = probes.generate(thinker, clip, 3)
    with attach(thinker, schedule, kv_policy=kv_policy):
        expected = answers(thinker, batch, 4)
    footprint, definitions = probes.footprint(thinker), probes.definitions(thinker)
    with attach(thinker, schedule, kv_policy=kv_policy):
        for inputs in (clip, batch):
            break_down(thinker, inputs, place, error)
            assert torch.equal(answers(thinker, batch, 4)[1], expected[1])
    with pytest.raises(error), attach(thinker, schedule, kv_policy=kv_policy):
        break_down(thinker, batch, place, error)
        raise error
    assert probes.footprint(thinker) == footprint
    assert probes.definitions(thinker) == definitions
    probes.assert_same(probes.generate(thinker, clip, 3), plain)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa"])
@pytest.mark.parametrize("error", [_Broken, KeyboardInterrupt], ids=["exception", "interrupt"])
@pytest.mark.parametrize("left", ["in_the_block", "with_the_block"])
def test_a_broken_step_leaves_no_permission_behind(thinker: nn.Module, error: type[BaseException], left: str) -> None:
    """A cache that holds padding is refused outside of the block, also after a step that was cut off inside."""
    batch = batch_of(rows_of(thinker.config, "interleaved"))
    mask = torch.cat([batch["attention_mask"], torch.ones(4, 1, dtype=torch.long)], 1)
    step = {"input_ids": torch.full((4, 1), 5), "attention_mask": mask, "position_ids": torch.full((3, 4, 1), 99)}
    with attach(thinker, SCHEDULES["preset"](thinker.config)):
        cache = cache_of(thinker(**batch, use_cache=True))
        with hooked(text_model(thinker).layers[2], _Fuse(0, error)), pytest.raises(error):
            thinker(**step, **{CACHE: cache})
        if left == "in_the_block":
            answers(thinker, batch, 1)
    for layer in cache.layers:
        with pytest.raises(UnsupportedModelState):
            layer.update(torch.zeros(4, 2, 1, 8), torch.zeros(4, 2, 1, 8))


def test_a_generation_refused_before_its_first_forward(thinker: nn.Module, clip: dict[str, Any]) -> None:
    """What `generate` said of its prompts is forgotten: a forward on its own may be padded on the right."""
    rows = rows_of(thinker.config, "interleaved")
    batch, schedule = batch_of(rows, "right"), Schedule(after_layer={3: ModalityDropper()})
    with torch.no_grad(), attach(thinker, schedule):
        expected = thinker(**batch).logits
        with pytest.raises(ValueError, match="max_new_tokens"):
            thinker.generate(**clip, max_new_tokens=-1)
        with hooked(vision_tower(thinker), _Fuse(0)), pytest.raises(_Broken):
            thinker.generate(**batch, num_beams=4, max_new_tokens=2)
        assert torch.equal(thinker(**batch).logits, expected)
