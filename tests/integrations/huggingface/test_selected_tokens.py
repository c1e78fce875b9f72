"""The tokens Stage I keeps, against a selection in plain loops over saliency from recorded attention weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seats_ops import DiversitySelector, Schedule
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.oracle import merged_embeddings
from tests.integrations.huggingface.prompts import build_prompt, columns_of, columns_without
from tests.integrations.huggingface.scores.saliency_oracle import select
from tests.integrations.huggingface.stage_one import PROMPTS, blocks_of, expected_columns, expected_saliency, select_in


@pytest.fixture
def attention() -> str:
    return "sdpa"


@pytest.mark.parametrize("windows", ["paper", "encoder"])
@pytest.mark.parametrize("name", PROMPTS)
def test_selected_tokens(
    thinker: nn.Module, pristine: nn.Module, monkeypatch: pytest.MonkeyPatch, name: str, windows: str
) -> None:
    inputs = build_prompt(thinker.config, *PROMPTS[name], seed=5)
    saliency = expected_saliency(pristine, inputs, windows)
    expected = expected_columns(pristine, PROMPTS[name], inputs, saliency, {"video": 0.4, "audio": 0.4})
    assert select_in(thinker, inputs, monkeypatch, saliency_segments=windows).kept == expected


@pytest.mark.parametrize("ratios", [{"audio": 0.3}, {"video": 0.2, "audio": 0.7}, {"image": 0.5}], ids=str)
@pytest.mark.parametrize("name", ["image_then_clip", "two_images"])
def test_ratios_by_modality(
    thinker: nn.Module, pristine: nn.Module, monkeypatch: pytest.MonkeyPatch, name: str, ratios: dict[str, float]
) -> None:
    inputs = build_prompt(thinker.config, *PROMPTS[name], seed=5)
    saliency = expected_saliency(pristine, inputs, "paper")
    expected = expected_columns(pristine, PROMPTS[name], inputs, saliency, ratios)
    for entry in ("generate", "forward"):
        assert select_in(thinker, inputs, monkeypatch, keep_ratio=ratios, entry=entry).kept == expected


def test_a_second_selector_goes_on_with_what_is_left(thinker: nn.Module, pristine: nn.Module) -> None:
    """Features, saliency and blocks of the second stage are those of the tokens the first one kept."""
    inputs = build_prompt(thinker.config, *PROMPTS["two_grids"], seed=5)
    columns = columns_of(thinker.config, inputs, "video")
    saliency = expected_saliency(pristine, inputs, "paper")["video"]
    with torch.no_grad():
        features = merged_embeddings(pristine, inputs)[columns]
    kept = columns_without(thinker.config, inputs, "video").tolist()
    start = 0
    for length in blocks_of(thinker.config, PROMPTS["two_grids"])["video"]:
        first = torch.tensor(select(features[start : start + length], saliency[start : start + length], 0.6)[0]) + start
        picks, lead = select(features[first], saliency[first], 0.5)
        assert lead > 1e-5
        kept += columns[first[picks]].tolist()
        start += length
    with attach(thinker, Schedule(before_llm=[DiversitySelector({"video": ratio}) for ratio in (0.6, 0.5)])) as trace:
        probes.generate(thinker, inputs, 1)
    assert trace.stages[1].kept_indices[0].tolist() == sorted(kept)
