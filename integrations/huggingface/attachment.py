"""attach(model, schedule): prune an unmodified Hugging Face model while a `with` block lasts."""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from seats_ops.backend import resolve_backend
from seats_ops.cost import KV_POLICIES
from seats_ops.errors import UnsupportedModelState
from seats_ops.integrations.huggingface.adapter import Adapter, AttachOptions
from seats_ops.integrations.huggingface.families.family import Family, find_family
from seats_ops.integrations.huggingface.guards.guards import FullModelGuard, Guard, ThinkerGuard
from seats_ops.integrations.huggingface.guards.newer_version import check_newer_version
from seats_ops.integrations.huggingface.guards.refusals import (
    check_audio_rate,
    check_inputs,
    check_not_compiled,
    check_schedule,
    check_text_config,
)
from seats_ops.integrations.huggingface.hooks import owners_on
from seats_ops.integrations.huggingface.prompt.external import External, check_external
from seats_ops.integrations.huggingface.scores.saliency import SALIENCY_SEGMENTS
from seats_ops.integrations.huggingface.turns import methods_run_of
from seats_ops.schedule import Schedule
from seats_ops.trace import PruneTrace

WINDOWS = ("runs", "time")
RECORDS = (None, "scores")


def attach(
    model: nn.Module,
    schedule: Schedule,
    kv_policy: str = "uniform",
    backend: str = "auto",
    saliency_segments: str = "paper",
    windows: str = "runs",
    family: Family | None = None,
    record: str | None = None,
    external: Mapping[str, External] | None = None,
) -> Attachment:
    """Run `schedule` in every prefill of `model` until the block ends: `with attach(model, schedule) as trace:`.

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
        family: where a model of an architecture that is not known here keeps its decoder and towers, or one whose
            sound has another rate.
        record: "scores": the trace also has saliency and relevance, which are read from the device.
        external: for stages that ask for "external:NAME", by that name: a tensor [T, ...] with a row for every token of
            the prompts (those of a batch one after another, without padding, text included, each prompt once however
            many answers it gets), or a function that makes it of their `TokenLayout`, before anything is dropped.

    Returns:
        An `Attachment`; entering it gives the `PruneTrace` of the latest prefill.

    Raises:
        TypeError: a model class or schedule that is not supported.
        ValueError: an option or a layer that does not exist, an input that a stage asks for and `external` lacks;
            inside the block, one of another length.
        BackendUnavailable: backend="triton" cannot run on the model's device.
        UnsupportedModelState: the model is compiled, or has sound at another rate than its family; a stage asks for
            what its towers do not give (docs/adapter.md); transformers is
            newer than the newest tested, and pruning a tiny model of the class goes wrong; on entering, it is
            attached already; inside the block, a cache, argument or generation mode that pruning would get silently
            wrong (see docs/limitations.md), a second thread, or modules that were changed.

    Example:
        >>> from seats_ops import seats
        >>> from seats_ops.integrations import attach
        >>> with attach(model, seats(model.config, video=0.06, audio=0.35)) as trace:
        ...     answer = model.generate(**inputs, max_new_tokens=2)
        >>> trace.stages[-1].name, trace.stages[-1].counts["video"]
        ('ModalityDropper', 0)
    """
    given = check_external(external)
    options = AttachOptions(kv_policy, backend, saliency_segments, windows, record, given)
    return Attachment(model, schedule, options, family)


class Attachment(contextlib.ExitStack):
    """A schedule on a model, from entering to leaving; made by `attach`.

    Nothing is touched before it is entered. It ends with its `with` block, or with `close()`, which may be called at
    any time and again; after that it may be entered anew. While it is entered the model keeps it alive. A call that is
    under way when it ends, in another thread or because a streamer ended it, goes on pruned to its own end.

    Attributes:
        trace: `PruneTrace` of the latest prefill.

    Warns:
        RuntimeWarning: it ended without a call of the model, e.g. because a compiled forward was called, or was dropped
            without having been entered.

    Example:
        >>> from seats_ops import ModalityDropper, Schedule
        >>> from seats_ops.integrations import attach
        >>> attachment = attach(model, Schedule(after_layer={2: ModalityDropper()}))
        >>> with attachment:
        ...     answer = model.generate(**inputs, max_new_tokens=1)
        >>> attachment.trace.stages[0].counts["audio"]
        0
    """

    _was_entered = True  # until there is something to enter

    def __init__(self, model: nn.Module, schedule: Schedule, options: AttachOptions, family: Family | None) -> None:
        super().__init__()
        for name, known in (
            ("kv_policy", KV_POLICIES),
            ("saliency_segments", SALIENCY_SEGMENTS),
            ("windows", WINDOWS),
            ("record", RECORDS),
        ):
            if getattr(options, name) not in known:
                raise ValueError(f"{name}: expected one of {known}, got {getattr(options, name)!r}")
        if isinstance(model, nn.Module):
            check_not_compiled([model])  # a wrapper hides the class
        self.model = model
        self.schedule = schedule
        self.options = options
        self.family, self.thinker = find_family(model, family)
        self.trace = PruneTrace()
        check_newer_version(self.family, self.thinker, attach)
        self._check()
        self._was_entered = False

    def _check(self) -> None:
        """The model as it is now."""
        thinker, family = self.thinker, self.family
        text_model = family.text_model(thinker)
        check_not_compiled([self.model, thinker, thinker.model, text_model])
        check_schedule(self.schedule, text_model.config)
        check_inputs(family, self.schedule, self.options.external)
        check_text_config(text_model.config)
        check_audio_rate(family, thinker.config)
        # Weights that are offloaded have no place yet.
        placed = next((parameter for parameter in text_model.parameters() if not parameter.is_meta), None)
        if placed is not None:
            resolve_backend(self.options.backend, "segment_topk", placed)

    def __enter__(self) -> PruneTrace:  # type: ignore[override]
        self._was_entered = True
        self._check()
        for earlier in owners_on(self.thinker):
            if not earlier.closed or earlier.turns.is_taken():
                raise _already_attached()
            earlier.close()
        if methods_run_of({id(module) for module in (self.model, *self.thinker.modules())}):
            raise UnsupportedModelState("model: expected one that is at rest, got one whose call is under way")
        adapter = Adapter(self.family, self.model, self.thinker, self.schedule, self.options)
        guards: list[Guard] = [ThinkerGuard(self.thinker, adapter)]
        if self.model is not self.thinker:
            guards.append(FullModelGuard(self.model, adapter))
        try:
            # Twice: an interrupt may fall into the first.
            for _ in range(2):
                self.callback(_undo, adapter, guards)
            self.push(functools.partial(_warn_if_unused, adapter))
            adapter.attachment = self
            adapter.register()
            if next(owner for owner in owners_on(self.thinker) if not owner.closed) is not adapter:
                raise _already_attached()  # by another thread, meanwhile
            for guard in guards:
                guard.module.__dict__["generate"] = guard
            self.trace = adapter.trace
            return self.trace
        except BaseException:
            adapter.was_reached = True
            self.close()
            raise

    def __reduce__(self) -> Any:
        raise TypeError("Attachment: expected to stay with its model, got a copy asked for; `attach` the other model")

    def __del__(self) -> None:
        if not self._was_entered and not sys.is_finalizing():
            warnings.warn(
                "attach: expected to be entered, as in `with attach(model, schedule) as trace:`, got dropped unused: "
                "nothing was pruned",
                RuntimeWarning,
                stacklevel=2,
            )


def _already_attached() -> UnsupportedModelState:
    return UnsupportedModelState(
        "model: expected one without a schedule, got one that is attached already (`detach(model)` ends it)"
    )


def _warn_if_unused(adapter: Adapter, kind: object, *_: Any) -> None:
    if kind is None and not adapter.was_reached:
        warnings.warn(
            "attach: no forward of the model came by, nothing was pruned (a forward compiled earlier skips hooks)",
            RuntimeWarning,
            stacklevel=3,
        )


def _undo(adapter: Adapter, guards: list[Guard]) -> None:
    for guard in guards:
        guard.restore()
    adapter.close()


def detach(model: nn.Module) -> None:
    """Leave whatever block `model`, or the thinker in it, is attached in; nothing happens if there is none.

    For an `Attachment` that was entered without being kept.

    Example:
        >>> from seats_ops import ModalityDropper, Schedule
        >>> from seats_ops.integrations import attach, detach
        >>> trace = attach(model, Schedule(after_layer={2: ModalityDropper()})).__enter__()
        >>> answer = model.generate(**inputs, max_new_tokens=1)
        >>> detach(model)
    """
    for module in (model, getattr(model, "thinker", None)):
        for adapter in owners_on(module) if isinstance(module, nn.Module) else ():
            adapter.attachment.close()
