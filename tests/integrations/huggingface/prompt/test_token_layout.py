"""The layout the stages receive: modalities, and Stage II windows that are carried along from the original prompt."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seats_ops import DiversitySelector, Modality, ModalityDropper, Schedule, StagePruner, WindowBudgetAllocator
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.prompts import (
    Audio,
    Image,
    Part,
    Text,
    Video,
    build_prompt,
    columns_of,
    columns_without,
    runs_of,
)

PROMPTS: dict[str, list[Part]] = {
    "clip_with_sound": [Text(4), Video((5, 4, 6), 1.0, mel_frames=430), Text(3)],
    "half_second_grids": [Text(4), Video((9, 4, 6), 0.5, mel_frames=730), Text(3)],
    "longer_video": [Text(4), Video((9, 4, 6), 1.0, mel_frames=430), Text(3)],
    "longer_audio": [Text(4), Video((3, 4, 6), 1.0, mel_frames=930), Text(3)],
    "video": [Text(4), Video((4, 6, 10)), Text(3)],
    "audio": [Text(4), Audio(431), Text(3)],
    "one_after_the_other": [Text(4), Video((4, 4, 6)), Text(2), Audio(333), Text(3)],
    "two_of_each": [
        Text(5),
        Video((4, 4, 6)),
        Text(3),
        Video((3, 6, 8), 0.5),
        Audio(333),
        Text(1),
        Audio(410),
        Text(4),
    ],
    "image_and_clip": [Text(3), Image((1, 4, 6)), Text(2), Video((4, 4, 6), 1.0, mel_frames=410), Text(5)],
}
SCHEDULE = Schedule(before_llm=DiversitySelector(0.5), after_layer={2: StagePruner(0.6), 4: StagePruner(0.5)})


@pytest.fixture
def attention() -> str:
    return "sdpa"


@pytest.mark.parametrize("name", PROMPTS)
def test_modalities(thinker: nn.Module, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    inputs = build_prompt(thinker.config, *PROMPTS[name])
    calls = probes.recorded_calls(monkeypatch, DiversitySelector)
    with attach(thinker, SCHEDULE):
        probes.generate(thinker, inputs, 1)
    expected = torch.full_like(inputs["input_ids"][0], Modality.TEXT)
    for kind in ("video", "audio", "image"):
        expected[columns_of(thinker.config, inputs, kind)] = Modality[kind.upper()]
    assert calls[0]["layout"].modality.tolist() == expected.tolist()
    assert calls[0]["layout"].cu_seqlens.tolist() == [0, len(expected)]


@pytest.mark.parametrize("name", PROMPTS)
def test_windows_are_the_runs_of_the_original_prompt(
    thinker: nn.Module, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Ids come from the unpruned prompt and stay with their tokens, also when pruning empties a run in between."""
    inputs = build_prompt(thinker.config, *PROMPTS[name])
    calls = probes.recorded_calls(monkeypatch, WindowBudgetAllocator)
    with attach(thinker, SCHEDULE) as trace:
        probes.generate(thinker, inputs, 1)
    windows = runs_of(thinker.config, inputs)
    assert len(calls) == 2
    for call, before in zip(calls, trace.stages, strict=False):
        assert call["layout"].window.tolist() == windows[before.kept_indices[0]].tolist()


def test_windows_survive_an_emptied_run(thinker: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its sound a clip is one run of pictures, but its windows are still those of the prompt."""
    inputs = build_prompt(thinker.config, *PROMPTS["clip_with_sound"])
    calls = probes.recorded_calls(monkeypatch, WindowBudgetAllocator)
    schedule = Schedule(after_layer={1: ModalityDropper(("audio",)), 3: StagePruner(0.5)})
    with attach(thinker, schedule) as trace:
        probes.generate(thinker, inputs, 1)
    windows = runs_of(thinker.config, inputs)[trace.stages[0].kept_indices[0]]
    assert calls[0]["layout"].window.tolist() == windows.tolist()
    assert len(set(windows.tolist())) > 2


@pytest.mark.parametrize("name", PROMPTS)
def test_kept_indices_are_nested_and_ascending(thinker: nn.Module, name: str) -> None:
    inputs = build_prompt(thinker.config, *PROMPTS[name])
    with attach(thinker, SCHEDULE) as trace:
        probes.generate(thinker, inputs, 1)
    alive = set(range(inputs["input_ids"].shape[1]))
    for stage in trace.stages:
        columns = stage.kept_indices[0].tolist()
        assert columns == sorted(set(columns))
        assert set(columns) <= alive
        alive = set(columns)
        assert stage.num_tokens == len(columns)


@pytest.mark.parametrize("kinds", [("audio",), ("video",), ("audio", "video"), ("image",)])
def test_dropper_keeps_exactly_the_rest(thinker: nn.Module, kinds: tuple[str, ...]) -> None:
    inputs = build_prompt(thinker.config, *PROMPTS["image_and_clip"])
    with attach(thinker, Schedule(after_layer={2: ModalityDropper(kinds)})) as trace:
        probes.generate(thinker, inputs, 1)
    (stage,) = trace.stages
    assert stage.kept_indices[0].tolist() == columns_without(thinker.config, inputs, *kinds).tolist()
    assert len(columns_of(thinker.config, inputs, *kinds)) > 0
