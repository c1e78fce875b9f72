"""How much of a pruned prefill is ours: the time inside the adapter's hooks, by what they do."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from seats_ops.integrations.huggingface.adapter import Adapter
from seats_ops.integrations.huggingface.scores.saliency import TowerWatch
from seats_ops.measure.stopwatch import now

HOOKS = {
    (TowerWatch, "_before_tower"): "saliency",
    (TowerWatch, "_before_attention"): "saliency",
    (TowerWatch, "_after_projection"): "saliency",
    (TowerWatch, "_after_tower"): "saliency",
    (Adapter, "_begin"): "layout and Stage I",
    (Adapter, "_enter_text"): "layout and Stage I",
    (Adapter, "_leave_text"): "cache",
    (Adapter, "_end"): "cache",
}


@contextmanager
def own_seconds(device: torch.device) -> Iterator[dict[str, float]]:
    """Seconds by part, filled in while the block lasts. Attach inside: hooks are taken when they are registered.

    On a GPU every hook waits for the device before and after, so the whole takes longer than without this.
    """
    seconds: dict[str, float] = defaultdict(float)

    def timed(call: Callable[..., Any], part: str) -> Callable[..., Any]:
        @functools.wraps(call)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start = now(device)
            try:
                return call(*args, **kwargs)
            finally:
                seconds[part] += now(device) - start

        return wrapper

    def layer_hook(adapter: Adapter, index: int) -> Callable[..., Any]:
        hook = original(adapter, index)
        return timed(hook, f"drop after layer {index}" if index in adapter.schedule.after_layer else "other layers")

    original = Adapter._layer_hook
    patches = [mock.patch.object(cls, name, timed(getattr(cls, name), part)) for (cls, name), part in HOOKS.items()]
    patches.append(mock.patch.object(Adapter, "_layer_hook", layer_hook))
    for patch in patches:
        patch.start()
    try:
        yield seconds
    finally:
        for patch in patches:
            patch.stop()
