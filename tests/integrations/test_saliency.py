"""The saliency Stage I receives, against the attention weights an eager tower computed, and the tokens that follow from it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops import DiversitySelector, Schedule
from seats_ops.integrations import attach
from tests.integrations import probes
from tests.integrations.models import small_thinker
from tests.integrations.oracle import merged_embeddings
from tests.integrations.prompts import (
    Audio,
    Image,
    Part,
    Text,
    Video,
    audio_tokens,
    build_prompt,
    columns_of,
    columns_without,
    visual_tokens,
)
from tests.integrations.saliency_oracle import audio_saliency, cut, select, visual_saliency, window_order

TOLERANCE = 1e-5  # the mean over a window is 1

PROMPTS: dict[str, list[Part]] = {
    "clip_with_sound": [Text(4), Video((5, 4, 6), 1.0, mel_frames=430), Text(3)],
    "video": [Text(4), Video((4, 6, 10)), Text(3)],
    "one_grid": [Text(4), Video((1, 6, 6)), Text(3)],
    "audio": [Text(4), Audio(431), Text(3)],
    "first_audio_odd": [Text(4), Audio(333), Text(2), Audio(410), Text(2), Audio(58), Text(3)],
    "two_grids": [Text(4), Video((3, 4, 6)), Text(2), Video((4, 6, 8), 0.5), Text(3)],
    "larger_grid_first": [Text(4), Video((3, 8, 8)), Text(2), Video((5, 4, 4)), Audio(202), Text(3)],
    "image_then_clip": [Text(4), Image((1, 6, 4)), Text(2), Video((4, 4, 6), 1.0, mel_frames=390), Text(3)],
    "clip_then_image": [Text(4), Video((2, 4, 6)), Text(2), Image((1, 4, 4)), Text(3)],
    # 24 merged tokens each: the two calls of the vision tower cannot be told apart by their length
    "image_as_large_as_the_clip": [Text(4), Image((1, 8, 12)), Text(2), Video((4, 4, 6)), Text(3)],
    "two_images": [Text(4), Image((1, 4, 6)), Image((1, 8, 4)), Text(2), Video((3, 4, 6)), Text(3)],
}


def expected_saliency(pristine: nn.Module, inputs: dict[str, Any], windows: str) -> dict[str, Tensor]:
    """By modality, in the order of the prompt."""
    found = {}
    if "video_grid_thw" in inputs:
        found["video"] = visual_saliency(pristine, inputs["pixel_values_videos"], inputs["video_grid_thw"], windows)
    if "input_features" in inputs:
        mask = inputs["feature_attention_mask"]
        found["audio"] = audio_saliency(pristine, inputs["input_features"], mask, windows)
    return found


def captured(
    model: nn.Module, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch, entry: str = "generate", **options: Any
) -> tuple[dict[str, Any], list[int]]:
    """Arguments of the only call of the selector, and the columns it kept."""
    with monkeypatch.context() as patch:
        calls = probes.recorded_calls(patch, DiversitySelector)
        with torch.no_grad(), attach(model, Schedule(before_llm=DiversitySelector(0.4)), **options) as trace:
            if entry == "generate":
                probes.generate(model, inputs, 1)
            else:
                model(**inputs)
    (call,) = calls
    return call, trace.stages[0].kept_indices[0].tolist()


def blocks_of(model: nn.Module, parts: list[Part]) -> dict[str, list[int]]:
    """Lengths of the Stage I blocks: 2 temporal grids or 50 audio tokens, never across two items."""
    blocks: dict[str, list[int]] = {"video": [], "audio": []}
    for part in parts:
        if isinstance(part, Video):
            blocks["video"] += cut(
                visual_tokens(model.config, part.grid), visual_tokens(model.config, (2, *part.grid[1:]))
            )
        if isinstance(part, (Audio, Video)) and part.mel_frames is not None:
            blocks["audio"] += cut(audio_tokens(part.mel_frames), 50)
    return blocks


@pytest.mark.parametrize("windows", ["paper", "encoder"])
@pytest.mark.parametrize("name", PROMPTS)
def test_saliency_is_the_attention_received(
    thinker: nn.Module, pristine: nn.Module, monkeypatch: pytest.MonkeyPatch, name: str, windows: str
) -> None:
    inputs = build_prompt(thinker.config, *PROMPTS[name], seed=5)
    expected = expected_saliency(pristine, inputs, windows)
    for entry in ("generate", "forward"):
        call, _ = captured(thinker, inputs, monkeypatch, entry, saliency_segments=windows)
        for kind, saliency in expected.items():
            got = call["saliency"][columns_of(thinker.config, inputs, kind)].double()
            assert got.shape == saliency.shape
            assert (got - saliency).abs().max() < TOLERANCE, (entry, kind)


def test_paper_and_encoder_segments_differ(pristine: nn.Module) -> None:
    inputs = build_prompt(pristine.config, *PROMPTS["clip_with_sound"], seed=5)
    paper, encoder = (expected_saliency(pristine, inputs, windows) for windows in ("paper", "encoder"))
    for kind in ("video", "audio"):
        assert (paper[kind] - encoder[kind]).abs().max() > 1e-2


def test_paper_windows_are_the_default(
    thinker: nn.Module, clip: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    default, _ = captured(thinker, clip, monkeypatch)
    paper, _ = captured(thinker, clip, monkeypatch, saliency_segments="paper")
    assert torch.equal(default["saliency"], paper["saliency"])


def test_the_selector_sees_the_merged_embeddings(
    thinker: nn.Module, pristine: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = build_prompt(thinker.config, *PROMPTS["image_then_clip"], seed=5)
    call, _ = captured(thinker, inputs, monkeypatch)
    with torch.no_grad():
        expected = merged_embeddings(pristine, inputs)
    torch.testing.assert_close(call["features"], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("windows", ["paper", "encoder"])
@pytest.mark.parametrize("name", PROMPTS)
def test_selected_tokens(
    thinker: nn.Module, pristine: nn.Module, monkeypatch: pytest.MonkeyPatch, name: str, windows: str
) -> None:
    inputs = build_prompt(thinker.config, *PROMPTS[name], seed=5)
    with torch.no_grad():
        features = merged_embeddings(pristine, inputs)
    blocks = blocks_of(thinker, PROMPTS[name])
    kept = columns_without(thinker.config, inputs, "audio", "video").tolist()
    for kind, saliency in expected_saliency(pristine, inputs, windows).items():
        columns = columns_of(thinker.config, inputs, kind)
        for members, weights in zip(columns.split(blocks[kind]), saliency.split(blocks[kind]), strict=True):
            picks, lead = select(features[members], weights, 0.4)
            assert lead > 1e-5, "this prompt leaves a pick to rounding: take another seed"
            kept += members[picks].tolist()
    assert captured(thinker, inputs, monkeypatch, saliency_segments=windows)[1] == sorted(kept)


def test_window_size_of_the_vision_tower_does_not_matter(
    attention: str, clip: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With full attention in every block the window size only permutes the tower's tokens."""
    inputs = build_prompt(small_thinker().config, Text(4), Video((4, 6, 10), 1.0, mel_frames=390), Text(3), seed=5)
    results, orders = [], []
    for window_size in (16, 24, 1024):
        vision = {"window_size": window_size, "fullatt_block_indexes": [0, 1, 2]}
        model = small_thinker(attention, vision=vision)
        results.append(captured(model, inputs, monkeypatch, saliency_segments="encoder"))
        orders.append(window_order(model.config.vision_config, inputs["video_grid_thw"].tolist()))
    assert orders[0] != orders[1] != orders[2] == sorted(orders[2])
    for call, kept in results[:2]:
        assert (call["saliency"] - results[2][0]["saliency"]).abs().max() < TOLERANCE
        assert kept == results[2][1]


def test_a_single_image_does_not_replace_the_clip(thinker: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another image must change nothing of the clip's saliency, whatever came out of the vision tower last."""
    parts = PROMPTS["image_as_large_as_the_clip"]
    inputs = build_prompt(thinker.config, *parts, seed=5)
    other = inputs | {
        "pixel_values": torch.randn(inputs["pixel_values"].shape, generator=torch.Generator().manual_seed(1))
    }
    columns = columns_of(thinker.config, inputs, "video")
    for entry in ("generate", "forward"):
        one, another = (captured(thinker, prompt, monkeypatch, entry)[0]["saliency"] for prompt in (inputs, other))
        assert torch.equal(one[columns], another[columns])


def test_unweighted_selection_needs_no_saliency(thinker: nn.Module, clip: dict[str, Any]) -> None:
    """Encoder outputs of the caller are refused for want of saliency, and only then."""
    with torch.no_grad():
        video = thinker.get_video_features(clip["pixel_values_videos"], clip["video_grid_thw"])
    without = {name: value for name, value in clip.items() if name not in ("pixel_values_videos",)}
    schedule = Schedule(before_llm=DiversitySelector(0.4, weighted=False))
    with torch.no_grad(), attach(thinker, schedule) as trace:
        thinker(**clip)
        kept = trace.stages[0].kept_indices[0].tolist()
        thinker(**without, mm_encoder_outputs={"video": video})
    assert trace.stages[0].kept_indices[0].tolist() == kept
