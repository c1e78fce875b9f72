"""The prompts of these tests, and the layout the stages receive, in every family's way to write media down."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch

from seats_ops import Modality, Schedule, StagePruner, WindowBudgetAllocator
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.families.families import SMALL, pristine_of
from tests.integrations.huggingface.golden_case import FAMILIES, GoldenCase
from tests.integrations.huggingface.oracle import oracle_logits, prompt_positions
from tests.integrations.huggingface.prompts import Audio, Image, Part, Text, Video, build_prompt, columns_of, runs_of

SEEN: list[Part] = [Text(5), Image((1, 4, 6)), Text(2), Video((4, 6, 4)), Text(3), Video((2, 4, 8), 0.5), Text(4)]
HEARD: list[Part] = [Text(3), Image((1, 4, 6)), Text(2), Video((4, 4, 6), 1.0, mel_frames=610), Text(5)]
ASUNDER: list[Part] = [Text(5), Video((4, 4, 6)), Text(2), Audio(333), Text(1), Audio(410), Text(4)]
STILL: list[Part] = [Text(5), Image((1, 8, 12)), Image((1, 6, 4)), Audio(333), Text(1), Audio(410), Audio(90), Text(4)]
PROMPTS = [
    ("qwen3_omni", HEARD),
    ("qwen3_omni", ASUNDER),
    ("qwen2_5_vl", SEEN),
    ("qwen3_vl", SEEN),
    ("qwen3_vl_moe", SEEN),
    ("phi4_multimodal", STILL),
]
each_prompt = pytest.mark.parametrize(
    ("family", "parts"), PROMPTS, ids=["heard", "asunder", "2.5vl", "3vl", "3vl_moe", "phi4"]
)


def special_runs(config: Any, ids: list[int]) -> list[tuple[int, int]]:
    """(token, how many in a row) of placeholders and of what encloses them, from the first to the last."""
    names = ("vision_start", "vision_end", "audio_start", "audio_end", "audio", "image", "video")
    special = {getattr(config, f"{name}_token_id") for name in names if hasattr(config, f"{name}_token_id")}
    runs = [(token if token in special else -1, len(list(run))) for token, run in groupby(ids)]
    return [run for run in runs if run[0] != -1]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_interleave_as_the_golden_ones(golden_dir: Path, family: str, number: int) -> None:
    case = GoldenCase.load(golden_dir, number, family)
    config = pristine_of(f"{family}_omni").config
    (grid,), (mel,) = case.inputs["video_grid_thw"].tolist(), case.inputs["feature_attention_mask"].sum(1).tolist()
    clip = Video(tuple(grid), case.params["second_per_grid"], mel_frames=mel)
    made = build_prompt(config, Text(3), clip, Text(3))["input_ids"][0].tolist()
    assert special_runs(config, made) == special_runs(config, case.inputs["input_ids"][0].tolist())


def test_qwen3_vl_encloses_every_grid_behind_its_time() -> None:
    config = pristine_of("qwen3_vl").config
    ids = build_prompt(config, Text(2), Video((3, 4, 6)), Text(2))["input_ids"][0].tolist()
    start, video, end = config.vision_start_token_id, config.video_token_id, config.vision_end_token_id
    assert special_runs(config, ids) == [(start, 1), (video, 6), (end, 1)] * 3
    assert len(ids) == 2 + 3 * (3 + 8) + 2


@each_prompt
def test_decoder_oracle_equals_the_untouched_model(family: str, parts: list[Part], attention: str) -> None:
    model = SMALL[family](attention)
    inputs = build_prompt(model.config, *parts)
    answer = probes.generate(model, inputs, 5)
    last = int(prompt_positions(model, inputs)[0, -1])
    with torch.no_grad():
        prompt_logits = model(**inputs).logits[0]
    for policy in ("uniform", "per-layer"):
        logits = oracle_logits(model, inputs, [], policy, answer.ids[:-1], range(last + 1, last + 5))
        assert (logits[: len(prompt_logits)] - prompt_logits).abs().max() < 2e-5
        assert (logits[len(prompt_logits) - 1 :] - answer.logits).abs().max() < 2e-5


@each_prompt
def test_modalities_and_windows(family: str, parts: list[Part], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pruners in a row: the second one's tokens still have the windows of the prompt."""
    model = SMALL[family]("sdpa")
    inputs = build_prompt(model.config, *parts)
    calls = probes.recorded_calls(monkeypatch, WindowBudgetAllocator)
    with attach(model, Schedule(after_layer={2: StagePruner(0.5), 4: StagePruner(0.5)})) as trace:
        probes.generate(model, inputs, 1)
    modality = torch.full_like(inputs["input_ids"][0], Modality.TEXT)
    for kind in ("video", "audio", "image"):
        modality[columns_of(model.config, inputs, kind)] = Modality[kind.upper()]
    windows = runs_of(model.config, inputs)
    everything = torch.arange(len(modality))
    for call, columns in zip(calls, (everything, trace.stages[0].kept_indices[0]), strict=True):
        assert call["layout"].modality.tolist() == modality[columns].tolist()
        assert call["layout"].window.tolist() == windows[columns].tolist()
