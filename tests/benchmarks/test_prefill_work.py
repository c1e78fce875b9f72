"""What a whole pruned prefill asks of a device: few launches and reads, whatever its length, and nothing quadratic."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("launches are recorded instead of run, which needs the compiler", allow_module_level=True)

from benchmarks.paper_model import LAUNCHES
from seats_ops import DiversitySelector, ModalityDropper, PruneTrace, Schedule, StagePruner, TokenLayout
from seats_ops.integrations import attach
from seats_ops.testing.device_work import CountDeviceWork
from seats_ops.testing.stand_in_device import Device, OnDevice, our_frames
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.prompts import Text, Video, build_prompt

CHUNKS = (4, 8)
HOOKS = {"_after_tower", "_begin", "_enter_text", "before_layer", "_leave_text"}
SCHEDULE = Schedule(
    before_llm=[DiversitySelector(0.3)],
    after_layer={3: StagePruner(0.8), 4: StagePruner(0.6), 5: ModalityDropper()},
)


class OurWork(CountDeviceWork):
    """Counts what is done in code of this package, by its outermost function: a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        frames = our_frames()
        if not frames:
            return func(*args, **(kwargs or {}))
        before = self.work.launches
        result = super().__torch_dispatch__(func, types, args, kwargs)
        self.launches[frames[-1].split()[1]] += self.work.launches - before
        return result


@dataclass
class Prefill:
    """What one prefill did; `tokens` is the length of the prompt."""

    tokens: int
    trace: PruneTrace
    device: Device
    ours: OurWork

    @property
    def drops(self) -> int:
        counts = [self.tokens, *(stage.num_tokens for stage in self.trace.stages)]
        return sum(after < before for before, after in pairwise(counts))


def inputs_of(model: Any, chunks: int) -> dict[str, Any]:
    return build_prompt(model.config, Text(9), Video((2 * chunks, 8, 8), 1.0, mel_frames=200 * chunks), Text(7))


@torch.no_grad()
def prefill(schedule: Schedule, chunks: int, *, generate: bool = False, record: str | None = None) -> Prefill:
    model = small_thinker()
    device, ours = Device(), OurWork()
    inputs = device.put(inputs_of(model, chunks))
    device.put(model)
    with device, ours, attach(model, schedule, backend="triton", record=record) as trace:
        if generate:
            model.generate(**inputs, max_new_tokens=1, do_sample=False)
        else:
            model(**inputs)
    return Prefill(inputs["input_ids"].shape[1], trace, device, ours)


@pytest.fixture(scope="module")
def prefills() -> list[Prefill]:
    return [prefill(SCHEDULE, chunks) for chunks in CHUNKS]


@pytest.fixture(scope="module")
def generation() -> Prefill:
    """The first token of `generate`, which encodes before it calls the model."""
    return prefill(SCHEDULE, CHUNKS[0], generate=True)


def test_the_stand_in_keeps_what_a_cpu_keeps(prefills: list[Prefill]) -> None:
    model = small_thinker()
    for chunks, run in zip(CHUNKS, prefills, strict=True):
        with torch.no_grad(), attach(model, SCHEDULE) as trace:
            model(**inputs_of(model, chunks))
        assert run.drops == len(trace.stages) == 4
        for ours, expected in zip(run.trace.stages, trace.stages, strict=True):
            kept = [tensor.held for tensor in ours.kept_indices if isinstance(tensor, OnDevice)]
            assert [x.tolist() for x in kept] == [x.tolist() for x in expected.kept_indices]


def test_one_read_for_the_layout_and_one_per_drop(prefills: list[Prefill], generation: Prefill) -> None:
    # What `generate` encodes before the first forward has its grids read there.
    for run, for_layout in ((prefills[0], 1), (prefills[1], 1), (generation, 2)):
        reads = "\n".join(" < ".join(frames) for frames in run.device.reads)
        assert len(run.device.reads) <= for_layout + run.drops, reads


def test_scores_cost_a_read_each_and_only_when_asked(prefills: list[Prefill]) -> None:
    asked = prefill(SCHEDULE, CHUNKS[0], record="scores")
    scored = sum(stage.scores is not None for stage in asked.trace.stages)
    assert scored == 2 and asked.trace.saliency is not None
    # The third kind: how many seconds a temporal grid lasts.
    assert len(asked.device.reads) == len(prefills[0].device.reads) + 1 + scored + 1
    assert all(stage.scores is None for run in prefills for stage in run.trace.stages)


def test_no_operator_reads(prefills: list[Prefill]) -> None:
    for run in prefills:
        assert run.ours.work.reads == 0
        assert not [frames for frames in run.device.reads if any(f.startswith("seats_ops/ops/") for f in frames)]


def test_launches_are_few(prefills: list[Prefill], generation: Prefill) -> None:
    for run in (*prefills, generation):
        launches = run.ours.launches
        assert launches["_after_tower"] <= 2 * LAUNCHES["tower"]
        assert launches["_begin"] + launches["_enter_text"] <= LAUNCHES["stage one"]
        assert launches["before_layer"] <= LAUNCHES["drop"] * (run.drops - 1)
        assert launches["_leave_text"] <= LAUNCHES["cached layer"] * len(run.trace.kv_lengths)
        # No other hook launches anything.
        assert {name for name, n in launches.items() if n} <= HOOKS


def test_launches_copies_and_reads_do_not_grow_with_the_clip(prefills: list[Prefill]) -> None:
    short, long = prefills
    assert long.tokens > 1.9 * short.tokens
    assert str(long.ours.work) == str(short.ours.work)
    assert len(long.device.reads) == len(short.device.reads)


def test_nothing_grows_faster_than_the_clip(prefills: list[Prefill]) -> None:
    """Tokens x tokens, or tokens x windows, would be four times as large for a clip twice as long."""
    short, long = (largest_by_place(run) for run in prefills)
    assert max(long.values()) > prefills[1].tokens
    grown = {place: (short.get(place, 0), n) for place, n in long.items() if n > 2.5 * max(short.get(place, 0), 64)}
    assert grown == {}


def largest_by_place(run: Prefill) -> dict[tuple[str, str], int]:
    sizes: dict[tuple[str, str], int] = {}
    for name, place, entries in run.device.made:
        sizes[name, place] = max(entries, sizes.get((name, place), 0))
    return sizes


class OneWindowAfterTheOther:
    """A stage as it should not be."""

    inputs: ClassVar[tuple[str, ...]] = ("scores",)

    def __call__(self, scores: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        window, num_windows = layout.windows()
        keep, pairs = window < 0, window[:, None] == torch.arange(num_windows, device=window.device)
        for index in range(num_windows):
            if int(pairs[:, index].sum()) > 4:
                keep[(window == index).nonzero().squeeze(1)[:4]] = True
        return keep

    def to_dict(self) -> dict[str, Any]:
        return {"type": "OneWindowAfterTheOther"}

    @classmethod
    def from_dict(cls, data: Any) -> OneWindowAfterTheOther:
        return cls()


def test_a_loop_over_windows_would_be_seen() -> None:
    schedule = Schedule(after_layer={3: OneWindowAfterTheOther()})
    short, long = (prefill(schedule, chunks) for chunks in CHUNKS)
    assert len(short.device.reads) > 1 + 2 * CHUNKS[0] and len(long.device.reads) > 1 + 2 * CHUNKS[1]
    assert long.ours.work.launches >= short.ours.work.launches + 3 * (CHUNKS[1] - CHUNKS[0])
    sizes = [max(n for name, _, n in run.device.made if name == "eq") for run in (short, long)]
    assert sizes[1] > 3.5 * sizes[0]
