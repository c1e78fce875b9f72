"""The oracles of this folder against the untouched model and the golden numbers; no adapter takes part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.integrations.huggingface import probes
from tests.integrations.huggingface.golden_case import FAMILIES, GoldenCase
from tests.integrations.huggingface.models import golden_thinker
from tests.integrations.huggingface.oracle import merged_embeddings, oracle_logits, prompt_positions
from tests.integrations.huggingface.prompts import (
    Audio,
    Image,
    Part,
    Text,
    Video,
    build_prompt,
    columns_of,
    columns_without,
)
from tests.integrations.huggingface.scores.saliency_oracle import audio_saliency, cut, select, visual_saliency

PROMPTS: dict[str, list[Part]] = {
    "clip_with_sound": [Text(9), Video((5, 4, 6), 1.0, mel_frames=430), Text(7)],
    "video": [Text(5), Video((4, 4, 6)), Text(4)],
    "audio": [Text(5), Audio(333), Text(4)],
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
    "text": [Text(30)],
}


@pytest.fixture(params=[(family, number) for family in FAMILIES for number in range(4)], ids="{0[0]}-{0[1]}".format)
def case(request: pytest.FixtureRequest, golden_dir: Path) -> GoldenCase:
    family, number = request.param
    return GoldenCase.load(golden_dir, number, family)


@pytest.fixture
def golden_pristine(case: GoldenCase, golden_dir: Path) -> nn.Module:
    """The checkpoint of a case in a model that nothing is attached to."""
    return golden_thinker(golden_dir, "eager", case.params["family"])


@pytest.mark.parametrize("name", PROMPTS)
def test_decoder_oracle_equals_the_untouched_model(thinker: nn.Module, name: str) -> None:
    inputs = build_prompt(thinker.config, *PROMPTS[name])
    answer = probes.generate(thinker, inputs)
    last = int(prompt_positions(thinker, inputs)[0, -1])
    with torch.no_grad():
        prompt_logits = thinker(**inputs).logits[0]
    later = range(last + 1, last + len(answer.ids))
    for policy in ("uniform", "per-layer"):
        logits = oracle_logits(thinker, inputs, [], policy, answer.ids[:-1], later)
        assert (logits[: len(prompt_logits)] - prompt_logits).abs().max() < 2e-5
        assert (logits[len(prompt_logits) - 1 :] - answer.logits).abs().max() < 2e-5


def test_decoder_oracle_equals_the_golden_numbers(case: GoldenCase, golden_pristine: nn.Module) -> None:
    generated = case.numbers["seats.generated"].tolist()
    last = int(prompt_positions(golden_pristine, case.inputs)[0, -1])
    logits = oracle_logits(
        golden_pristine, case.inputs, case.kept, "uniform", generated[:-1], range(last + 1, last + 4)
    )
    tail = logits[case.params["sequence"] - 1 :]
    assert (tail[0] - case.numbers["seats.last_logits"]).abs().max() < 2e-5
    assert tail.argmax(-1).tolist() == generated


def test_decoder_oracle_tells_the_policies_and_every_stage_apart(pristine: nn.Module) -> None:
    inputs = build_prompt(pristine.config, *PROMPTS["clip_with_sound"])
    config, later = pristine.config, ([11, 12], [200, 201])
    silent = columns_without(config, inputs, "audio")
    text = columns_without(config, inputs, "audio", "video")
    schedules: list[list[tuple[int, Tensor]]] = [
        [],
        [(0, silent)],
        [(2, silent)],
        [(2, silent), (5, text)],
        [(3, silent)],
    ]
    answers = [
        oracle_logits(pristine, inputs, kept, policy, *later)[-1]
        for kept in schedules
        for policy in ("uniform", "per-layer")
        if (kept and kept[-1][0]) or policy == "uniform"  # without a drop inside the LLM the policies are one
    ]
    for i, one in enumerate(answers):
        for other in answers[:i]:
            assert (one - other).abs().max() > 1e-2


def test_saliency_oracle_equals_the_golden_numbers(case: GoldenCase, golden_pristine: nn.Module) -> None:
    video = visual_saliency(golden_pristine, case.inputs["pixel_values_videos"], case.inputs["video_grid_thw"], "paper")
    audio = audio_saliency(
        golden_pristine, case.inputs["input_features"], case.inputs["feature_attention_mask"], "paper"
    )
    assert (video - case.numbers["seats.video_attention"]).abs().max() < 1e-5
    assert (audio - case.numbers["seats.audio_attention"]).abs().max() < 1e-5


def test_selection_oracle_equals_the_golden_numbers(case: GoldenCase, golden_pristine: nn.Module) -> None:
    config, inputs = golden_pristine.config, case.inputs
    with torch.no_grad():
        features = merged_embeddings(golden_pristine, inputs)
    _, height, width = inputs["video_grid_thw"][0].tolist()
    kept: list[Any] = columns_without(config, inputs, "audio", "video").tolist()
    for kind, block in (("video", 2 * height * width // 4), ("audio", 50)):
        columns = columns_of(config, inputs, kind)
        blocks = columns.split(cut(len(columns), block))
        weights = case.numbers[f"seats.{kind}_attention"].split([len(b) for b in blocks])
        for members, weight in zip(blocks, weights, strict=True):
            kept += members[select(features[members], weight, case.params[f"{kind}_encoder_ratio"])[0]].tolist()
    assert sorted(kept) == case.numbers["seats.stage1_keep"].tolist()
