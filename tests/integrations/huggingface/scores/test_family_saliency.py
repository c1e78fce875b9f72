"""Saliency and the tokens Stage I keeps in every family, against attention weights that its eager towers computed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import DiversitySelector, Schedule
from seats_ops.errors import BackendUnavailable
from seats_ops.integrations import attach
from tests.integrations.huggingface.families.families import SMALL, pristine_of
from tests.integrations.huggingface.prompts import build_prompt, columns_of, moving
from tests.integrations.huggingface.scores.saliency_oracle import audio_saliency, window_order
from tests.integrations.huggingface.stage_one import PROMPTS, expected_columns, expected_saliency, select_in

TOLERANCE = 1e-5  # the mean over a window is 1, and the largest several times that
HEARD = ["clip_with_sound", "first_audio_odd", "image_then_clip"]
SEEN = ["video", "two_grids", "image_as_large_as_the_clip", "two_images"]
CASES = [("qwen3_omni", name) for name in HEARD + SEEN]
CASES += [(family, name) for family in ("qwen2_5_vl", "qwen3_vl") for name in SEEN]
CASES += [("phi4_multimodal", name) for name in ("audio", "first_audio_odd", "pictures_and_sounds")]


def with_less_rounding(pristine: nn.Module, inputs: dict[str, Any], attention: str) -> tuple[nn.Module, dict[str, Any]]:
    """Eager towers round as eager towers do, and so further from sdpa than sdpa is from what both stand for."""
    if attention == "eager":
        return pristine, inputs
    exact = {name: x.double() if torch.is_tensor(x) and x.is_floating_point() else x for name, x in inputs.items()}
    return copy.deepcopy(pristine).double(), exact


@pytest.mark.parametrize("segments", ["paper", "encoder"])
@pytest.mark.parametrize(("family", "name"), CASES)
def test_saliency_and_selected_tokens(
    family: str, name: str, segments: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pristine = SMALL[family](attention), pristine_of(family)
    inputs = build_prompt(model.config, *PROMPTS[name], seed=5)
    expected = expected_saliency(*with_less_rounding(pristine, inputs, attention), segments)
    ratios = {"video": 0.4, "audio": 0.4} | ({"image": 0.3} if moving(model.config) == "audio" else {})
    columns = expected_columns(pristine, PROMPTS[name], inputs, expected, ratios)
    for entry in ("generate", "forward"):
        selection = select_in(model, inputs, monkeypatch, keep_ratio=ratios, entry=entry, saliency_segments=segments)
        for kind, saliency in expected.items():
            got = selection.saliency[columns_of(model.config, inputs, kind)].double()
            assert got.shape == saliency.shape
            torch.testing.assert_close(got, saliency, rtol=TOLERANCE, atol=TOLERANCE)
        assert selection.kept == columns


@pytest.mark.parametrize("family", ["qwen2_5_omni", "qwen2_5_vl"])
@pytest.mark.parametrize("name", ["video", "two_grids"])
def test_these_prompts_notice_saliency_in_the_order_of_the_tower(family: str, name: str) -> None:
    pristine = pristine_of(family)
    inputs = build_prompt(pristine.config, *PROMPTS[name], seed=5)
    saliency = expected_saliency(pristine, inputs, "paper")["video"]
    order = window_order(pristine.config.vision_config, inputs["video_grid_thw"].tolist())
    assert (saliency - saliency[order]).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["clip_with_sound", "first_audio_odd"])
def test_these_prompts_notice_the_length_of_an_audio_window(name: str) -> None:
    """Qwen3-Omni: 52 positions, not the 50 tokens of a Stage I block."""
    pristine = pristine_of("qwen3_omni")
    inputs = build_prompt(pristine.config, *PROMPTS[name], seed=5)
    sound = inputs["input_features"], inputs["feature_attention_mask"]
    right, wrong = (audio_saliency(pristine, *sound, "paper", length) for length in (52, 50))
    assert (right - wrong).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["qwen3_omni", "qwen2_5_vl", "qwen3_vl"])
def test_paper_and_encoder_segments_differ(family: str) -> None:
    pristine = pristine_of(family)
    inputs = build_prompt(pristine.config, *PROMPTS["clip_with_sound" if family == "qwen3_omni" else "video"], seed=5)
    paper, encoder = (expected_saliency(pristine, inputs, segments) for segments in ("paper", "encoder"))
    assert set(paper) == ({"video", "audio"} if family == "qwen3_omni" else {"video"})
    for kind in paper:
        assert (paper[kind] - encoder[kind]).abs().max() > 1e-2
        torch.testing.assert_close(paper[kind].mean(), encoder[kind].mean())


def test_saliency_of_sound_has_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named backend is not replaced; the check of the device is put aside, as this is about what comes after it."""
    monkeypatch.setattr("seats_ops.backend.why_not_triton", lambda primitive, tensor: None)
    model = SMALL["phi4_multimodal"]("sdpa")
    inputs = build_prompt(model.config, *PROMPTS["audio"], seed=5)
    schedule = Schedule(before_llm=[DiversitySelector(0.4)])
    with pytest.raises(BackendUnavailable, match="saliency of sound"), attach(model, schedule, backend="triton"):
        model(**inputs)
