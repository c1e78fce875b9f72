"""Does a stage of your own keep to the protocol of `seats_ops.Stage`? One report names every rule that it breaks."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import random
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seats_ops.cost.counts import found_by_stages, token_counts
from seats_ops.cost.prompt_lengths import PromptLengths
from seats_ops.layout import TokenLayout
from seats_ops.operators.own_work import EncoderSizes, Sizes, own_macs_of
from seats_ops.operators.selection import check_declared, check_merge_faults, merge_faults
from seats_ops.operators.stage import Stage, count_kind_of
from seats_ops.operators.stage_call import call_stage
from seats_ops.operators.stage_checks import check_kept, check_result, name_of
from seats_ops.operators.stage_pruner import StagePruner
from seats_ops.operators.stored import OURS
from seats_ops.schedule import Schedule
from seats_ops.testing.mixed_devices import OneDevice
from seats_ops.testing.stage_inputs import INPUT_DTYPES, fixed_layouts, generators_for, layout_of_row, tensors_for


def check_stage(stage: Stage, layouts: Sequence[TokenLayout] | None = None) -> None:
    """Run a stage on small layouts, and look at it as a value.

    Looked at are: what `Schedule` asks of it; whether it is frozen, hashable, equal to its copy and to what its JSON
    form is read back as; the mask's dtype, shape and device, on the CPU and on a stand-in for another device; whether
    the query is kept, a second call gives the same, inputs and random state stay untouched, a prompt of a batch gets
    what it gets alone, and `count_tokens`, if there is one, is right.

    Args:
        stage: to be checked.
        layouts: to run it on, on the CPU; None: one prompt and several, without audio, video or any media, with single
            tokens, emptied windows, and without block and window ids.

    Raises:
        AssertionError: a rule is broken; the message lists all of them with the first layout that shows it.

    Example:
        >>> from seats_ops import ModalityDropper
        >>> from seats_ops.testing import check_stage
        >>> check_stage(ModalityDropper(("audio",)))
    """
    found = _Findings(stage)
    try:
        schedule = Schedule(after_layer={1: stage})
    except (TypeError, ValueError) as error:
        found.note("schedule", error)
        raise found.report() from None
    before = None
    try:
        before = copy.deepcopy(stage)
    except Exception as error:
        found.note("equality", f"expected a value that can be copied, got {_shown(error)}")
    _check_value(stage, before, found)
    _check_stored(stage, schedule, found)
    # On the CPU, whatever the default device is.
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        found.run(fixed_layouts() if layouts is None else {f"layouts[{i}]": x for i, x in enumerate(layouts)})
    if "equality" not in found.rules and before != stage:
        found.note("state", "expected a stage that stays as it is, got one that calls change")
    if found.rules:
        raise found.report()


def _parts(stage: Any) -> tuple[Any, ...]:
    """What has settings and counts of its own."""
    return (stage, stage.allocator) if isinstance(stage, StagePruner) else (stage,)


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _check_value(stage: Any, twin: Any, found: _Findings) -> None:
    if not dataclasses.is_dataclass(stage) or not getattr(stage, "__dataclass_params__").frozen:  # noqa: B009 - untyped
        found.note("frozen", f"expected a frozen dataclass, got {type(stage).__name__}")
    try:
        hash(stage)
    except TypeError as error:
        found.note("hashable", f"expected settings that can be hashed, got {_shown(error)}")
    if twin is not None and twin != stage:
        found.note("equality", "expected a stage with the same settings to be equal")


def _check_stored(stage: Any, schedule: Schedule, found: _Findings) -> None:
    try:
        stored = json.loads(json.dumps(schedule.to_dict()))
    except Exception as error:
        found.note("to_dict", f"expected settings that JSON holds, got {_shown(error)}")
        return None
    if not hasattr(type(stage), "from_dict"):
        return None
    kinds = [type(part) for part in _parts(stage)]
    own = [kind for kind in kinds if hasattr(kind, "from_dict") and kind.__name__ not in OURS]
    try:
        again = Schedule.from_dict(stored, types=own)
    except Exception as error:
        found.note("from_dict", f"expected to read what to_dict gave, got {_shown(error)}")
        return None
    if again != schedule:
        found.note("from_dict", f"expected {stage}, got {again.stages()[0][1]}")
    return None


@dataclasses.dataclass
class _Case:
    """What a stage is run on."""

    where: str
    layout: TokenLayout
    tensors: dict[str, Tensor]


class _Findings:
    """Runs a stage and notes the first breach of every rule."""

    def __init__(self, stage: Any) -> None:
        self.stage = stage
        self.rules: dict[str, str] = {}

    def note(self, rule: str, message: object) -> None:
        self.rules.setdefault(rule, str(message))

    def report(self) -> AssertionError:
        lines = [f"- {rule}: {message}" for rule, message in self.rules.items()]
        return AssertionError("\n".join([f"{name_of(self.stage)} breaks the protocol of seats_ops.Stage:", *lines]))

    def run(self, layouts: dict[str, TokenLayout]) -> None:
        dtypes = INPUT_DTYPES if "features" in self.stage.inputs else INPUT_DTYPES[:1]
        earlier: list[tuple[_Case, Tensor]] = []
        for title, layout in layouts.items():
            for dtype in dtypes:
                where = title if dtype == dtypes[0] else f"{title} in {dtype}"
                case = _Case(where, layout, tensors_for(layout, dtype, inputs=self.stage.inputs))
                mask = self.first_call(case)
                if mask is None:
                    continue
                earlier = earlier or [(case, mask)]
                self.compare(case, mask, "deterministic", "called twice")
                self.check_rows(case, mask)
                if dtype == dtypes[0]:
                    self.check_device(case, mask)
                    self.check_counts(case, mask)
        for case, mask in earlier:
            self.compare(case, mask, "deterministic", "called again after others")

    def call(self, layout: TokenLayout, tensors: dict[str, Any]) -> Any:
        return call_stage(self.stage, layout, {**tensors, **generators_for(self.stage, layout)}, "auto")

    def first_call(self, case: _Case) -> Tensor | None:
        """The mask, None where there is none to go on with."""
        layout, tensors = copy.deepcopy((case.layout, case.tensors))
        states = _random_states()
        try:
            result = self.call(case.layout, case.tensors)
        except Exception as error:
            self.note("call", f"on {case.where}: {_shown(error)}")
            return None
        if states != _random_states():
            self.note("random state", f"on {case.where}: expected the global random state to be left alone")
        if case.layout != layout or not all(torch.equal(case.tensors[name], tensors[name]) for name in tensors):
            self.note("inputs", f"on {case.where}: expected layout and tensors to be left as they are")
            return None
        try:
            selection = check_result(f"on {case.where}", result, layout, tensors.get("features"))
            check_declared(f"on {case.where}", self.stage, selection)
            check_merge_faults(f"on {case.where}", merge_faults(selection))
            mask = selection.keep_mask
        except (TypeError, ValueError) as error:
            self.note("result", error)
            return None
        try:
            check_kept(f"on {case.where}", mask, layout)
        except ValueError as error:
            self.note("query", error)
        return mask

    def compare(self, case: _Case, expected: Tensor, rule: str, how: str) -> None:
        where = f"on {case.where}, {how}"
        try:
            result = self.call(case.layout, case.tensors)
            mask = check_result(where, result, case.layout).keep_mask
        except Exception as error:
            self.note(rule, f"{where}: {_shown(error)}")
            return None
        if not torch.equal(mask, expected):
            moved = (mask != expected).nonzero().flatten().tolist()
            self.note(rule, f"{where}: expected the same tokens, got a difference at {moved[:8]} of {len(mask)}")
        return None

    def check_rows(self, case: _Case, mask: Tensor) -> None:
        """A prompt of a batch gets what it gets alone."""
        rows = case.layout.num_rows
        for row in range(rows if rows > 1 else 0):
            part = slice(*case.layout.cu_seqlens[row : row + 2].tolist())
            tensors = {n: x[row : row + 1] if n == "counts" else x[part] for n, x in case.tensors.items()}
            alone = _Case(case.where, layout_of_row(case.layout, row), tensors)
            self.compare(alone, mask[part], "prompts", f"prompt {row} alone")

    def check_device(self, case: _Case, mask: Tensor) -> None:
        """The same tokens on a device that is not the CPU, without mixing tensors of both."""
        device, where = OneDevice(), f"on {case.where}, on another device"
        try:
            with device:
                layout = case.layout.to(device.place)
                counts = {n: x for n, x in case.tensors.items() if n == "counts"}  # stays on the host
                result = self.call(layout, device.put(case.tensors) | counts)
                found = check_result(where, result, layout).keep_mask
        except Exception as error:
            self.note("device", f"{where}: {_shown(error)}")
            return None
        if not torch.equal(device.fetch(found), mask):
            self.note("device", f"{where}: expected the same tokens, got others")
        return None

    def check_counts(self, case: _Case, mask: Tensor) -> None:
        if case.layout.window is None or not any(hasattr(part, "count_tokens") for part in _parts(self.stage)):
            return
        names, rows = ("text", "video", "audio", "image"), case.layout.rows()
        for row in range(case.layout.num_rows):
            left = torch.bincount(case.layout.modality[mask & (rows == row)].long(), minlength=len(names)).tolist()
            lengths = PromptLengths.from_layout(case.layout, row)
            if lengths.shapes is None and "grid" in self.stage.inputs:
                return None  # thinned: its counts go by items that are no longer whole
            try:
                (said,) = token_counts(Schedule(after_layer={1: self.stage}), lengths)
            except (TypeError, ValueError) as error:
                self.note("count_tokens", f"on {case.where}: {error}")
                return None
            self.check_own_macs(case, lengths)
            counters = [part for part in _parts(self.stage) if hasattr(part, "count_tokens")]
            if any(count_kind_of(part) not in ("shape", "reconciled") for part in counters):
                if not said.low <= sum(left) <= said.high:
                    self.note("count_bounds", f"on {case.where}: expected {said.low} to {said.high}, got {sum(left)}")
            elif left != [getattr(said, name) for name in names]:
                counted = dict(zip(names, left, strict=True))
                self.note("count_tokens", f"on {case.where}: expected the {counted} that are left, got {said}")

    def check_own_macs(self, case: _Case, lengths: PromptLengths) -> None:
        """It answers, if it is there; not how much the stage does."""
        sizes = Sizes(8, 8, 4, dict.fromkeys(("video", "audio", "image"), EncoderSizes(8, 2, 4)))
        try:
            for _, stage, found in found_by_stages(Schedule(after_layer={1: self.stage}), lengths):
                own_macs_of(stage, found, sizes)
        except Exception as error:
            self.note("own_macs", f"on {case.where}: {_shown(error)}")


def _random_states() -> list[Any]:
    numpy: Any = sys.modules.get("numpy")
    return [torch.get_rng_state().tolist(), random.getstate(), numpy and pickle.dumps(numpy.random.get_state())]
