"""Prompts and arguments of one call that pruning cannot take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import DiversitySelector, Schedule
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.compat import LACKS
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.guards.refusals import LATE, REFUSED, assert_refused
from tests.integrations.huggingface.oracle import merged_embeddings, prompt_positions
from tests.integrations.huggingface.upstream import CACHE, cache_of


@pytest.fixture
def attention() -> str:
    return "sdpa"


@pytest.fixture(params=["generate", "forward"])
def entry(request: pytest.FixtureRequest) -> str:
    return request.param


def without(inputs: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name not in names}


def test_labels(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    arguments = silent_clip | {"labels": silent_clip["input_ids"]}
    assert_refused(thinker, silent_clip, "forward", arguments, "labels", REFUSED)


@pytest.mark.parametrize("beams", [1, 2])
def test_padding_on_the_right_in_generate(thinker: nn.Module, silent_clip: dict[str, Any], beams: int) -> None:
    """`generate` would number new tokens from the padding on."""
    ids, mask = silent_clip["input_ids"], silent_clip["attention_mask"]
    padded = {
        "input_ids": torch.cat([ids, torch.full((1, 3), 297)], dim=1),
        "attention_mask": torch.cat([mask, torch.zeros(1, 3, dtype=torch.long)], dim=1),
        "num_beams": beams,
    }
    match = "num_beams" if beams > 1 and "copies of media" in LACKS else "attention_mask"
    assert_refused(thinker, silent_clip, "generate", silent_clip | padded, match)


def test_a_row_of_nothing_but_padding(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    """It has no last token. transformers itself fails to number such a row."""
    length = silent_clip["input_ids"].shape[1]
    padded = {
        "input_ids": torch.cat([silent_clip["input_ids"], torch.full((1, length), 297)]),
        "attention_mask": torch.ones(2, length, dtype=torch.long).index_fill(0, torch.tensor([1]), 0),
        "position_ids": prompt_positions(thinker, silent_clip)[:, None].expand(-1, 2, -1),
    }
    assert_refused(thinker, silent_clip, "forward", silent_clip | padded, "input_ids", ValueError)


@pytest.mark.parametrize("kind", ["float", "bool", "dict"])
def test_a_prepared_mask(thinker: nn.Module, silent_clip: dict[str, Any], kind: str) -> None:
    length = silent_clip["input_ids"].shape[1]
    mask = torch.zeros(1, 1, length, length).masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    prepared = {"float": mask, "bool": mask == 0, "dict": {"full_attention": mask}}[kind]
    arguments = {"attention_mask": prepared, "position_ids": prompt_positions(thinker, silent_clip)[:, None]}
    assert_refused(thinker, silent_clip, "forward", silent_clip | arguments, "attention_mask", REFUSED)


def test_embeddings_without_ids(thinker: nn.Module, silent_clip: dict[str, Any], entry: str) -> None:
    with torch.no_grad():
        embeddings = merged_embeddings(thinker, silent_clip)[None]
    arguments = {"inputs_embeds": embeddings, "attention_mask": silent_clip["attention_mask"]}
    assert_refused(thinker, silent_clip, entry, arguments, r"inputs_embeds|input_ids", REFUSED)


def test_encoder_outputs_without_saliency(thinker: nn.Module, silent_clip: dict[str, Any], entry: str) -> None:
    """Saliency is seen only where the tower runs under the context."""
    with torch.no_grad():
        video = thinker.get_video_features(silent_clip["pixel_values_videos"], silent_clip["video_grid_thw"])
    arguments = without(silent_clip, "pixel_values_videos") | {"mm_encoder_outputs": {"video": video}}
    assert_refused(thinker, silent_clip, entry, arguments, r"mm_encoder_outputs|video_grid_thw", REFUSED)


def test_encoder_outputs_where_no_saliency_is_needed(
    thinker: nn.Module, silent_clip: dict[str, Any], entry: str
) -> None:
    """They are refused, or what they select is what the clip selects."""
    schedule = Schedule(before_llm=DiversitySelector(0.4, weighted=False))
    with torch.no_grad():
        video = thinker.get_video_features(silent_clip["pixel_values_videos"], silent_clip["video_grid_thw"])
    arguments = without(silent_clip, "pixel_values_videos") | {"mm_encoder_outputs": {"video": video}}
    with torch.no_grad(), attach(thinker, schedule) as trace:
        thinker(**silent_clip)
        expected = trace.stages[0].kept_indices[0].tolist()
        try:
            thinker(**arguments) if entry == "forward" else thinker.generate(**arguments, max_new_tokens=1)
        except REFUSED as refusal:
            assert "mm_encoder_outputs" in str(refusal) or "video_grid_thw" in str(refusal)
            return
    assert trace.stages[0].kept_indices[0].tolist() == expected


def test_new_media_in_a_later_turn(thinker: nn.Module, silent_clip: dict[str, Any], entry: str) -> None:
    footprint = probes.footprint(thinker)
    with attach(thinker, LATE):
        first = probes.generate(thinker, silent_clip, 2)
        arguments = silent_clip | {CACHE: first.cache}
        if entry == "generate":
            ids = torch.cat([silent_clip["input_ids"], torch.tensor([first.ids]), silent_clip["input_ids"]], dim=1)
            arguments |= {"input_ids": ids, "attention_mask": torch.ones_like(ids), "max_new_tokens": 2}
        call = thinker.generate if entry == "generate" else thinker
        with (
            probes.produced_logits(thinker) as produced,
            pytest.raises(REFUSED, match=f"input_ids|{CACHE}"),
        ):
            call(**arguments)
        assert produced == []
    assert probes.footprint(thinker) == footprint


def test_media_after_text_in_the_cache(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    with torch.no_grad():
        cache = cache_of(thinker(input_ids=torch.tensor([[5, 6, 7]]), use_cache=True))
    arguments = silent_clip | {CACHE: cache}
    assert_refused(thinker, silent_clip, "forward", arguments, f"input_ids|{CACHE}", REFUSED)
    assert cache.get_seq_length() == 3
