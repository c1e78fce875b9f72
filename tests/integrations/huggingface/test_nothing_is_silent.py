"""Cases in which pruning would not happen, or not as asked: each says so."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner, UnsupportedModelState
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.compat import LACKS
from tests.integrations.huggingface.oracle import prompt_positions

LATE = Schedule(after_layer={3: ModalityDropper()})


@pytest.fixture
def attention() -> str:
    return "sdpa"


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("with_grid", [True, False])
def test_videos_encoded_before_the_block(
    thinker: nn.Module, silent_clip: dict[str, Any], weighted: bool, with_grid: bool
) -> None:
    features = thinker.get_video_features(silent_clip["pixel_values_videos"], silent_clip["video_grid_thw"])
    arguments: dict[str, Any] = {
        "input_ids": silent_clip["input_ids"],
        "position_ids": prompt_positions(thinker, silent_clip)[:, None],
        "mm_encoder_outputs": {"video": features},
    }
    if with_grid:
        arguments["video_grid_thw"] = silent_clip["video_grid_thw"]
    schedule = Schedule(before_llm=DiversitySelector(0.3, weighted=weighted))
    with attach(thinker, schedule) as trace:
        if with_grid and not weighted and "mm_encoder_outputs" not in LACKS:
            thinker(**arguments)
            assert trace.stages[0].counts["video"] < trace.prompt_counts["video"]
        else:
            named = "mm_encoder_outputs" if with_grid or "mm_encoder_outputs" in LACKS else "video_grid_thw"
            with pytest.raises(UnsupportedModelState, match=named):
                thinker(**arguments)


def test_a_forward_compiled_before_is_warned_of(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    torch.compiler.reset()
    compiled = torch.compile(thinker.forward, backend="eager")
    compiled(**silent_clip)
    with pytest.warns(RuntimeWarning, match="nothing was pruned"), attach(thinker, LATE) as trace:
        compiled(**silent_clip)
    assert not trace.stages
    torch.compiler.reset()


def test_a_block_that_was_used_is_not_warned_of(thinker: nn.Module, silent_clip: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with attach(thinker, LATE):
            thinker(**silent_clip)
        with attach(thinker, LATE), pytest.raises(UnsupportedModelState):
            thinker.generate(**silent_clip, prefill_chunk_size=16)


@pytest.mark.parametrize("stage", [ModalityDropper(), StagePruner(0.5)], ids=lambda stage: type(stage).__name__)
@pytest.mark.parametrize("start", [[], [7, 8]], ids=["no text", "text first"])
def test_a_prompt_that_ends_in_media(thinker: nn.Module, stage: Any, start: list[int]) -> None:
    ids = torch.tensor([start + [thinker.config.audio_token_id] * 6])
    with attach(thinker, Schedule(after_layer={2: stage})), pytest.raises(ValueError, match=r"input_ids.*text"):
        thinker(input_ids=ids)
