"""A prefill with a schedule or without one, that computes no more than serving engines do; what it leaves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn

from seats_ops.integrations.huggingface.attachment import attach
from seats_ops.schedule import Schedule
from seats_ops.trace import PruneTrace


@contextlib.contextmanager
def attached(
    model: nn.Module, schedule: Schedule | None, kv_policy: str, backend: str, record: str | None = None
) -> Iterator[PruneTrace | None]:
    """As `attach`; without a schedule the model is left alone, and there is no trace."""
    if schedule is None:
        yield None
    else:
        with attach(model, schedule, kv_policy=kv_policy, backend=backend, record=record) as trace:
            yield trace


@contextlib.contextmanager
def last_logits_only(model: Any) -> Iterator[None]:
    """Compute logits for the last token only.

    A thinker's forward computes them for the whole prompt, which with 152,064 entries per token is a large part of the
    time and of the memory, and of no use.
    """
    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda module, args: (args[0][:, -1:],))
    try:
        yield
    finally:
        handle.remove()


def kv_bytes(cache: Any) -> int:
    """Bytes of the keys and values of all layers."""
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
