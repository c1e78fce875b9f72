"""attach(model, schedule): prune an unmodified Hugging Face model while a `with` block lasts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from seats_ops.backend import resolve_backend
from seats_ops.cost import KV_POLICIES
from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.adapter import Adapter, AttachOptions
from seats_ops.integrations.family import Family, find_family
from seats_ops.integrations.guards import FullModelGuard, Guard, ThinkerGuard
from seats_ops.integrations.refusals import (
    check_not_compiled,
    check_schedule,
    check_text_config,
)
from seats_ops.integrations.saliency import SALIENCY_SEGMENTS
from seats_ops.schedule import Schedule
from seats_ops.trace import PruneTrace

WINDOWS = ("runs", "time")


@contextmanager
def attach(
    model: nn.Module,
    schedule: Schedule,
    kv_policy: str = "uniform",
    backend: str = "auto",
    saliency_segments: str = "paper",
    windows: str = "runs",
    family: Family | None = None,
) -> Iterator[PruneTrace]:
    """Run `schedule` in every prefill of `model` until the block ends.

    Hooks are registered, the layers of the cache in use are replaced, and the instance gets a guarded `generate`;
    no class and no module is changed, and everything is undone on exit, also after an exception. Decoding with a cache
    from inside the block goes on working after it.

    Args:
        model: a model of a supported family (docs/adapter.md), or a full Omni model through its `.thinker`.
        schedule: e.g. from `seats_ops.seats(model.config, video=0.06, audio=0.35)`.
        kv_policy: "uniform": every layer's cache ends with the final survivors only, as in the paper; "per-layer": each
            layer holds the keys of the tokens it saw.
        backend: "auto", "triton" or "reference", for all primitives.
        saliency_segments: "paper": saliency from the paper's windows (two temporal grids, two seconds of sound);
            "encoder": from the segments in which the encoder itself attends.
        windows: of Stage II. "runs": the i-th run of video and the i-th run of audio, as in the paper; "time":
            two-second slices of a clip, for prompts that do not interleave sound and picture.
        family: where a model of an architecture that is not known here keeps its decoder and towers.

    Yields:
        PruneTrace of the latest prefill.

    Warns:
        RuntimeWarning: the block ended without a forward of the model, e.g. because a compiled one was called.

    Raises:
        TypeError: a model class or schedule that is not supported.
        ValueError: an option or a layer that does not exist.
        BackendUnavailable: backend="triton" cannot run on the model's device.
        UnsupportedModelState: the model is compiled or attached already; inside the block, a cache, argument or
            generation mode that pruning would get silently wrong (see docs/limitations.md).
    """
    for name, value, known in (
        ("kv_policy", kv_policy, KV_POLICIES),
        ("saliency_segments", saliency_segments, SALIENCY_SEGMENTS),
        ("windows", windows, WINDOWS),
    ):
        if value not in known:
            raise ValueError(f"{name}: expected one of {known}, got {value!r}")
    if isinstance(model, nn.Module):
        check_not_compiled([model])  # a wrapper hides the class
    family, thinker = find_family(model, family)
    text_model = family.text_model(thinker)
    guarded = [thinker] if model is thinker else [thinker, model]
    check_not_compiled([module for module in (thinker, thinker.model, text_model) if module is not model])
    check_schedule(schedule, text_model.config)
    check_text_config(text_model.config)
    # Weights that are offloaded have no place yet.
    placed = next((parameter for parameter in text_model.parameters() if not parameter.is_meta), None)
    if placed is not None:
        resolve_backend(backend, "segment_topk", placed)
    if any(isinstance(module.__dict__.get("generate"), Guard) for module in guarded):
        raise UnsupportedModelState("model: expected a model without a schedule, got one that is attached already")

    adapter = Adapter(family, thinker, schedule, AttachOptions(kv_policy, backend, saliency_segments, windows))
    guards: list[Guard] = [ThinkerGuard(thinker, adapter)]
    if model is not thinker:
        guards.append(FullModelGuard(model, adapter))
    try:
        adapter.register()
        for guard in guards:
            guard.module.__dict__["generate"] = guard
        yield adapter.trace
        if not adapter.was_reached:
            warnings.warn(
                "attach: no forward of the model came by, nothing was pruned (a forward compiled earlier skips hooks)",
                RuntimeWarning,
                stacklevel=3,
            )
    finally:
        for guard in guards:
            guard.restore()
        adapter.remove()
