"""What a trace remembers of a prompt's tokens, and of their scores where that was asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seats_ops import Modality, ModalityDropper, PruneTrace, Schedule
from seats_ops.integrations import attach
from seats_ops.trace.records import MediaItem
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompts import Text, Video, build_prompt, columns_of, stills
from tests.integrations.huggingface.schedules import small_preset


def recorded(family: str, record: str | None) -> tuple[Any, dict[str, Any], PruneTrace]:
    model = SMALL[family]("sdpa")
    sound = 430 if "omni" in family else None
    parts = stills(
        model.config, Text(9), Video((4, 4, 6), 0.5, mel_frames=sound), Text(3), Video((2, 4, 4), 1.0), Text(7)
    )
    inputs = build_prompt(model.config, *parts)
    schedule = small_preset(model.config, drop_layers=(2, 3, 4), late_layer=6, encoder_ratio_scale=1.7)
    with torch.no_grad(), attach(model, schedule, record=record) as trace:
        model(**inputs)
    return model, inputs, trace


@pytest.mark.parametrize("family", SMALL)
def test_tokens_and_media_of_the_prompt(family: str) -> None:
    model, inputs, trace = recorded(family, None)
    layout = trace.layout
    assert layout is not None and len(layout) == inputs["input_ids"].shape[1]
    for kind in (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE):
        columns = columns_of(model.config, inputs, kind.name.lower())
        assert layout.position[layout.modality == kind].tolist() == columns.tolist()
        items = [item for item in trace.items if item.modality == kind.name.lower()]
        assert sum(item.num_tokens for item in items) == len(columns)
        assert all(item.grid is None or item.num_tokens == item.grid[0] * item.grid[1] * item.grid[2] for item in items)
    assert trace.saliency is None and all(stage.scores is None for stage in trace.stages)


def test_grids_and_seconds() -> None:
    _, _, trace = recorded("qwen2_5_omni", "scores")
    assert trace.items[:2] == [MediaItem(0, "video", 24, (4, 2, 3), 0.5), MediaItem(0, "video", 8, (2, 2, 2), 1.0)]
    assert {item.seconds for item in trace.items if item.modality == "audio"} == {1 / 25}


def test_a_record_names_videos_that_generate_encodes_for_itself() -> None:
    """Also where no stage wants anything of the towers."""
    model = SMALL["qwen2_5_omni"]("sdpa")
    inputs = build_prompt(model.config, Text(9), Video((4, 4, 6), 0.5, mel_frames=430), Text(7))
    with attach(model, Schedule(after_layer={2: ModalityDropper()}), record="scores") as trace:
        model.generate(**inputs, max_new_tokens=1)
    assert trace.items[0] == MediaItem(0, "video", 24, (4, 2, 3), 0.5)


@pytest.mark.parametrize("family", SMALL)
def test_recorded_scores_explain_what_was_kept(family: str) -> None:
    """In every window and modality a drop keeps the best by the recorded scores, as many as its budget says."""
    _, _, trace = recorded(family, "scores")
    layout, drops = trace.layout, 0
    assert layout is not None and trace.saliency is not None and len(trace.saliency) == len(layout)
    assert bool((trace.saliency[layout.modality == Modality.TEXT] == 0).all())
    here = torch.arange(len(layout))
    for stage in trace.stages:
        kept = torch.isin(here, stage.kept_indices[0])
        if stage.budgets is not None:
            assert stage.scores is not None and len(stage.scores) == len(here)
            assert layout.window is not None
            for window, budget in enumerate(stage.budgets.tolist()):
                for kind, most in zip((Modality.VIDEO, Modality.AUDIO), budget, strict=True):
                    member = (layout.window[here] == window) & (layout.modality[here] == kind)
                    left, gone = stage.scores[member & kept], stage.scores[member & ~kept]
                    assert len(left) == min(most, int(member.sum()))
                    assert not len(left) or not len(gone) or left.min() >= gone.max()
            drops += 1
        here = here[kept]
    assert drops == 3


def test_it_is_stored_with_the_trace() -> None:
    _, _, trace = recorded("qwen3_omni", "scores")
    again = PruneTrace.from_json(trace.to_json())
    assert again == trace and again.layout == trace.layout and again.items == trace.items
    assert torch.equal(again.saliency, trace.saliency)
    assert [stage.scores is None for stage in again.stages] == [stage.scores is None for stage in trace.stages]


def test_what_can_be_recorded_is_said() -> None:
    with pytest.raises(ValueError, match=r"record: expected one of \(None, 'scores'\), got 'all'"):
        attach(SMALL["qwen3_vl"]("sdpa"), Schedule(), record="all")
