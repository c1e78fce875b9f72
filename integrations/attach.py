"""attach(model, schedule): prune an unmodified Hugging Face model while a `with` block lasts."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from seats_ops.backend import resolve_backend
from seats_ops.cost import KV_POLICIES
from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.adapter import Adapter, AttachOptions
from seats_ops.integrations.family import Family, find_family
from seats_ops.integrations.refusals import (
    check_generate,
    check_not_compiled,
    check_schedule,
    check_text_config,
)
from seats_ops.integrations.saliency import SALIENCY_SEGMENTS
from seats_ops.integrations.speech import check_speech, check_spoken, layers_heard, wants_speech, whole_prompt_states
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
        check_not_compiled([model])
    family, thinker = find_family(model, family)
    text_model = family.text_model(thinker)
    guarded = [thinker] if model is thinker else [thinker, model]
    check_not_compiled([*guarded, thinker.model, text_model])
    check_schedule(schedule, text_model.config)
    check_text_config(text_model.config)
    # Weights that are offloaded have no place yet.
    placed = next((parameter for parameter in text_model.parameters() if not parameter.is_meta), None)
    if placed is not None:
        resolve_backend(backend, "segment_topk", placed)
    if any(isinstance(module.__dict__.get("generate"), _Guard) for module in guarded):
        raise UnsupportedModelState("model: expected a model without a schedule, got one that is attached already")

    adapter = Adapter(family, thinker, schedule, AttachOptions(kv_policy, backend, saliency_segments, windows))
    guards: list[_Guard] = [_ThinkerGuard(thinker, adapter)]
    if model is not thinker:
        guards.append(_FullModelGuard(model, adapter))
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


class _Guard:
    """Stands in front of one instance's `generate` and looks at its arguments."""

    def __init__(self, module: Any, check: Callable[[dict[str, Any]], None]) -> None:
        self.module = module
        self.check = check
        self.had_own = "generate" in module.__dict__
        self.generate = module.generate
        self.signature = inspect.signature(self.generate)
        functools.update_wrapper(self, self.generate)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        arguments = dict(self.signature.bind_partial(*args, **kwargs).arguments)
        self.check({**arguments.pop("kwargs", {}), **arguments})
        return self.generate(*args, **kwargs)

    def restore(self) -> None:
        """Leave the instance as it was found."""
        if self.had_own:
            self.module.__dict__["generate"] = self.generate
        else:
            self.module.__dict__.pop("generate", None)


class _ThinkerGuard(_Guard):
    """Also makes sure that the hooks saw the generation."""

    def __init__(self, thinker: Any, adapter: Adapter) -> None:
        super().__init__(thinker, self._look)
        self.adapter = adapter

    def _look(self, arguments: dict[str, Any]) -> None:
        check_generate(self.module.generation_config, arguments, self.adapter.options.kv_policy)
        self.adapter.check_clock(arguments)
        prompts = arguments.get("input_ids", arguments.get("inputs"))
        self.adapter.sources = len(prompts) if isinstance(prompts, Tensor) else None
        if self.adapter.heard:
            check_spoken(arguments)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.adapter.was_reached = True
        seen = self.adapter.num_forwards
        try:
            result = super().__call__(*args, **kwargs)
        finally:
            self.adapter.sources = None
        if self.adapter.num_forwards == seen:
            raise UnsupportedModelState(
                "model: expected its hooks to run, got a `generate` that went past them (a compiled forward does); its "
                "output is not pruned"
            )
        prefill, self.adapter.spoken = self.adapter.spoken, None
        if prefill is not None:
            first, *later = result.hidden_states
            norm = self.adapter.text_model.norm
            result.hidden_states = (whole_prompt_states(first, prefill, norm, self.adapter.heard), *later)
        return result


class _FullModelGuard(_Guard):
    """Lets a full model speak: its talker reads hidden states in the columns of the whole prompt."""

    def __init__(self, model: Any, adapter: Adapter) -> None:
        super().__init__(model, self._look)
        self.adapter = adapter

    def _look(self, arguments: dict[str, Any]) -> None:
        self.adapter.heard = ()
        if self.module.has_talker and wants_speech(self.module, arguments):
            check_speech(self.module, arguments)
            self.adapter.heard = layers_heard(self.module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.adapter.was_reached = True
        try:
            return super().__call__(*args, **kwargs)
        finally:
            self.adapter.heard, self.adapter.spoken = (), None
