"""Ways to look at a model from outside: what is attached to it, what it produced, what the operators were given."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.integrations.huggingface.upstream import CACHE, cache_of

UPSTREAM = (
    "transformers.models.qwen2_5_omni.modeling_qwen2_5_omni",
    "transformers.generation.utils",
    "transformers.cache_utils",
    "transformers.masking_utils",
    "transformers.vision_utils",
    "torch.nn.functional",
)


def footprint(model: nn.Module) -> dict[str, Any]:
    """Attribute names and hooks of every module of a model."""
    return {
        name: (
            sorted(vars(module)),
            {k: dict(v) for k, v in vars(module).items() if "hooks" in k and isinstance(v, dict)},
        )
        for name, module in model.named_modules()
    }


def definitions(model: nn.Module) -> dict[str, dict[str, Any]]:
    """What the classes of a model and the library modules they live in define."""
    classes = {base for module in model.modules() for base in type(module).__mro__}
    found = {f"{base.__module__}.{base.__qualname__}": dict(vars(base)) for base in classes}
    for name in UPSTREAM:
        found[name] = {key: value for key, value in vars(sys.modules[name]).items() if not key.startswith("__")}
    return found


@contextmanager
def produced_logits(thinker: nn.Module) -> Iterator[list[int]]:
    """Collects one entry for every time the model got as far as its output head."""
    calls: list[int] = []
    handle = thinker.lm_head.register_forward_hook(lambda module, args, output: calls.append(output.shape[1]))
    try:
        yield calls
    finally:
        handle.remove()


@dataclass(frozen=True)
class Answer:
    """`ids` generated one after the other, the logits `[G, vocab]` each was chosen from, and the cache that is left."""

    ids: list[int]
    logits: Tensor
    cache: Any


def assert_same(one: Answer, other: Answer) -> None:
    """Equal to the last bit, with caches of equal lengths."""
    assert one.ids == other.ids
    assert torch.equal(one.logits, other.logits)
    assert physical_lengths(one.cache) == physical_lengths(other.cache)


def generate(thinker: nn.Module, inputs: dict[str, Any], count: int = 8, **options: Any) -> Answer:
    """`generate`, greedy unless told otherwise."""
    options = {"do_sample": False, "max_new_tokens": count} | options
    output = thinker.generate(**inputs, **options, return_dict_in_generate=True, output_logits=True)
    return Answer(output.sequences[0, -count:].tolist(), torch.cat(output.logits), cache_of(output))


@torch.no_grad()
def decode(thinker: nn.Module, first: Tensor, cache: Any, count: int) -> Answer:
    """Greedy decoding with nothing but ids and the cache: first the ids `[n]` of `first`, then one token at a time."""
    fed, ids, logits = first[None], [], []
    for _ in range(count):
        row = thinker(input_ids=fed, **{CACHE: cache}).logits[0, -1]
        logits.append(row)
        ids.append(int(row.argmax()))
        fed = torch.tensor([[ids[-1]]])
    return Answer(ids, torch.stack(logits), cache)


@torch.no_grad()
def loop(thinker: nn.Module, inputs: dict[str, Any], count: int = 8) -> Answer:
    """A decoding loop written by hand: one prefill, then `decode`."""
    output = thinker(**inputs, use_cache=True)
    row = output.logits[0, -1]
    rest = decode(thinker, row.argmax()[None], cache_of(output), count - 1)
    return Answer([int(row.argmax()), *rest.ids], torch.cat([row[None], rest.logits]), cache_of(output))


def kept_sets(trace: Any) -> list[tuple[int, Tensor]]:
    """The kept columns of the only row, stage by stage, as the oracle takes them."""
    return [(stage.layer, stage.kept_indices[0].clone()) for stage in trace.stages]


def physical_lengths(cache: Any) -> list[int]:
    """Keys really stored per layer."""
    return [layer.keys.shape[-2] for layer in cache.layers]


def recorded_calls(monkeypatch: pytest.MonkeyPatch, operator: type) -> list[dict[str, Any]]:
    """Arguments by name of every call of an operator from now on; the operator still runs."""
    calls: list[dict[str, Any]] = []
    original: Callable[..., Any] = operator.__call__
    signature = inspect.signature(original)

    def recording(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(dict(signature.bind(self, *args, **kwargs).arguments))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(operator, "__call__", recording)
    return calls
