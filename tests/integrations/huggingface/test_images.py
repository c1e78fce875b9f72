"""Image tokens beside video and sound: kept unless a schedule names them, never budgeted, also where DeepStack adds."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from seats_ops import DiversitySelector, ModalityDropper, PruneTrace, Schedule, StagePruner, WindowBudgetAllocator
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.agreement import assert_agrees, next_in_generate
from tests.integrations.huggingface.families.families import SMALL, pristine_of
from tests.integrations.huggingface.prompt.prompt_tokens import visual_tokens
from tests.integrations.huggingface.prompts import (
    Audio,
    Image,
    Part,
    Text,
    Video,
    build_prompt,
    columns_of,
    columns_without,
    moving,
)
from tests.integrations.huggingface.schedules import DEEP_SCHEDULES
from tests.integrations.huggingface.stage_one import expected_columns, expected_saliency


@pytest.fixture(params=["qwen3_omni", "qwen3_vl", "phi4_multimodal"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(family: str) -> nn.Module:
    return SMALL[family]("sdpa")


@pytest.fixture
def parts(family: str) -> list[Part]:
    """Images before and behind a clip, which has sound where the family hears, or nothing else where it sees none."""
    clip: Part = Video((5, 4, 6), 1.0, mel_frames=530 if family == "qwen3_omni" else None)
    if family == "phi4_multimodal":
        clip = Audio(530)
    return [Text(5), Image((1, 6, 8)), Text(3), clip, Text(2), Image((1, 4, 6)), Text(6)]


@pytest.fixture
def inputs(model: nn.Module, parts: list[Part]) -> dict[str, Any]:
    return build_prompt(model.config, *parts, seed=4)


def run(model: nn.Module, family: str, inputs: dict[str, Any], schedule: Schedule, kv_policy: str) -> PruneTrace:
    """Generates under a schedule, compares with the full-length oracle and returns what was kept."""
    with attach(model, schedule, kv_policy=kv_policy) as trace:
        answer = probes.generate(model, inputs, 5)
    start = next_in_generate(model, inputs)
    later, kept = list(range(start, start + 4)), probes.kept_sets(trace)
    assert_agrees(pristine_of(family), inputs, kept, kv_policy, [answer], answer.ids[:-1], later)
    return trace


def test_kept_by_the_preset(model: nn.Module, family: str, inputs: dict[str, Any], kv_policy: str) -> None:
    trace = run(model, family, inputs, DEEP_SCHEDULES["preset"](model.config), kv_policy)
    images = set(columns_of(model.config, inputs, "image").tolist())
    assert len(images) == visual_tokens(model.config, (1, 6, 8)) + visual_tokens(model.config, (1, 4, 6))
    for _, columns in probes.kept_sets(trace):
        assert images <= set(columns.tolist())
    assert trace.stages[-1].kept_indices[0].tolist() == columns_without(model.config, inputs, "video", "audio").tolist()


@pytest.mark.parametrize("layer", [0, 1, 2, 3, 5])
def test_dropped(model: nn.Module, family: str, inputs: dict[str, Any], kv_policy: str, layer: int) -> None:
    dropper = ModalityDropper(("image",))
    schedule = Schedule(after_layer={layer: dropper}) if layer else Schedule(before_llm=dropper)
    (stage,) = run(model, family, inputs, schedule, kv_policy).stages
    assert stage.kept_indices[0].tolist() == columns_without(model.config, inputs, "image").tolist()


@pytest.mark.parametrize("also", [False, True], ids=["images", "images_and_more"])
def test_thinned(
    model: nn.Module, family: str, parts: list[Part], inputs: dict[str, Any], kv_policy: str, also: bool
) -> None:
    """Each image is a block of its own; what is left of it goes on through pruning and the late drop."""
    ratios = {"image": 0.3, moving(model.config): 0.6} if also else {"image": 0.4}
    after = {2: StagePruner(0.5), 4: ModalityDropper()}
    trace = run(model, family, inputs, Schedule(DiversitySelector(ratios), after), kv_policy)
    pristine = pristine_of(family)
    saliency = expected_saliency(pristine, inputs, "paper")
    kept = expected_columns(pristine, parts, inputs, saliency, ratios)
    assert trace.stages[0].kept_indices[0].tolist() == kept
    media = columns_of(model.config, inputs, "video", "audio").tolist()
    assert trace.stages[-1].kept_indices[0].tolist() == sorted(set(kept) - set(media))


def test_never_budgeted(
    model: nn.Module, family: str, inputs: dict[str, Any], kv_policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Totals and windows are those of video and audio, and budgets are spent on them alone."""
    calls = probes.recorded_calls(monkeypatch, WindowBudgetAllocator)
    (stage,) = run(model, family, inputs, Schedule(after_layer={2: StagePruner(0.5)}), kv_policy).stages
    (call,) = calls
    images = columns_of(model.config, inputs, "image")
    assert call["layout"].window[images].unique().tolist() == [-1]
    kept = set(stage.kept_indices[0].tolist())
    assert set(images.tolist()) <= kept
    media = [columns_of(model.config, inputs, kind).tolist() for kind in ("video", "audio")]
    assert stage.budgets.sum(0).tolist() == [len(kept & set(columns)) for columns in media]
    assert int(stage.budgets.sum()) == sum(round(0.5 * len(columns)) for columns in media)
