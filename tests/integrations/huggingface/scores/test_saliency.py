"""The saliency Stage I receives, against the attention weights an eager tower computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.oracle import merged_embeddings
from tests.integrations.huggingface.prompts import Text, Video, build_prompt, columns_of
from tests.integrations.huggingface.scores.saliency_oracle import window_order
from tests.integrations.huggingface.stage_one import PROMPTS, expected_saliency, select_in

TOLERANCE = 1e-5  # the mean over a window is 1


@pytest.mark.parametrize("windows", ["paper", "encoder"])
@pytest.mark.parametrize("name", PROMPTS)
def test_saliency_is_the_attention_received(
    thinker: nn.Module, pristine: nn.Module, monkeypatch: pytest.MonkeyPatch, name: str, windows: str
) -> None:
    inputs = build_prompt(thinker.config, *PROMPTS[name], seed=5)
    expected = expected_saliency(pristine, inputs, windows)
    for entry in ("generate", "forward"):
        selection = select_in(thinker, inputs, monkeypatch, entry=entry, saliency_segments=windows)
        for kind, saliency in expected.items():
            got = selection.saliency[columns_of(thinker.config, inputs, kind)].double()
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
    default = select_in(thinker, clip, monkeypatch)
    paper = select_in(thinker, clip, monkeypatch, saliency_segments="paper")
    assert torch.equal(default.saliency, paper.saliency)


def test_window_size_of_the_vision_tower_does_not_matter(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With full attention in every block the window size only permutes the tower's tokens."""
    inputs = build_prompt(small_thinker().config, Text(4), Video((4, 6, 10), 1.0, mel_frames=390), Text(3), seed=5)
    selections, orders = [], []
    for window_size in (16, 24, 1024):
        model = small_thinker(attention, vision={"window_size": window_size, "fullatt_block_indexes": [0, 1, 2]})
        selections.append(select_in(model, inputs, monkeypatch, saliency_segments="encoder"))
        orders.append(window_order(model.config.vision_config, inputs["video_grid_thw"].tolist()))
    assert orders[0] != orders[1] != orders[2] == sorted(orders[2])
    for selection in selections[:2]:
        assert (selection.saliency - selections[2].saliency).abs().max() < TOLERANCE
        assert selection.kept == selections[2].kept


def test_another_image_changes_nothing_of_the_clip(thinker: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vision tower runs for both, and their tokens are equally many."""
    inputs = build_prompt(thinker.config, *PROMPTS["image_as_large_as_the_clip"], seed=5)
    other = inputs | {"pixel_values": inputs["pixel_values"].flip(0)}
    columns = columns_of(thinker.config, inputs, "video")
    for entry in ("generate", "forward"):
        one, another = (select_in(thinker, prompt, monkeypatch, entry=entry) for prompt in (inputs, other))
        assert torch.equal(one.saliency[columns], another.saliency[columns])


def test_the_selector_sees_the_merged_embeddings(
    thinker: nn.Module, pristine: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = build_prompt(thinker.config, *PROMPTS["image_then_clip"], seed=5)
    with torch.no_grad():
        expected = merged_embeddings(pristine, inputs)
    selection = select_in(thinker, inputs, monkeypatch)
    torch.testing.assert_close(selection.features, expected, rtol=0, atol=1e-4)
