"""The prompt against Qwen2.5-Omni's processor and against the positions its model computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import Qwen2_5OmniProcessor

from seats_ops.cli.clip import load_clip
from seats_ops.cli.inputs import own_inputs
from seats_ops.cli.interleave import chunk_runs
from seats_ops.cli.prompt import SYSTEM, media_ids, prompt_ids, tokenizer


def layout_of_the_processor(grids: int, height: int, width: int, audio: int, seconds_per_grid: float) -> str:
    """Placeholders as transformers writes them: [ audio start, V video, A audio, ] audio end."""
    processor = SimpleNamespace(
        audio_bos_token="[",
        audio_eos_token="]",
        video_token="V",
        audio_token="A",
        video_processor=SimpleNamespace(merge_size=2),
    )
    processor.get_chunked_index = lambda indices, size: Qwen2_5OmniProcessor.get_chunked_index(processor, indices, size)
    return Qwen2_5OmniProcessor.replace_video_with_audio_token(
        processor,
        {
            "video_grid_thw": np.array([[grids, 2 * height, 2 * width]]),
            "video_second_per_grid": [seconds_per_grid],
        },
        0,
        {"num_audio_tokens": np.array([audio])},
        0,
        position_id_per_seconds=25,
        seconds_per_chunk=2.0,
    )


@pytest.mark.parametrize(
    ("grids", "height", "width", "audio", "seconds_per_grid"),
    [
        (5, 3, 4, 133, 1.0),
        (1, 1, 1, 1, 1.0),
        (8, 2, 2, 91, 0.5),
        (3, 2, 2, 400, 1.0),
        (30, 2, 2, 60, 1.0),
        (4, 2, 3, 300, 2.0),
        (4, 2, 3, 300, 8 / 3),
        (4, 2, 2, 500, 5.0),
        (7, 1, 2, 210, 2 / 3),
    ],
)
def test_sound_and_video_interleave_as_in_the_processor(
    tiny_config: Any, grids: int, height: int, width: int, audio: int, seconds_per_grid: float
) -> None:
    runs = chunk_runs(grids, height * width, audio, seconds_per_grid=seconds_per_grid, config=tiny_config)
    names = {
        tiny_config.vision_start_token_id: "",
        tiny_config.vision_end_token_id: "",
        tiny_config.audio_start_token_id: "[",
        tiny_config.audio_end_token_id: "]",
        tiny_config.video_token_id: "V",
        tiny_config.audio_token_id: "A",
    }
    written = "".join(names[token] for token in media_ids(runs, tiny_config))
    assert written == layout_of_the_processor(grids, height, width, audio, seconds_per_grid)


def test_the_models_positions_follow_time(tiny_config: Any, tiny_model: Any, make_video: Callable[..., Path]) -> None:
    """`get_rope_index` reads the layout: a video token sits where the sound of its moment sits, 25 per second."""
    inputs = own_inputs(load_clip(make_video()), "What is this?", tiny_config, frame_tokens=8)
    ids = inputs["input_ids"]
    positions, _ = tiny_model.model.get_rope_index(
        ids,
        video_grid_thw=inputs["video_grid_thw"],
        attention_mask=inputs["attention_mask"],
        use_audio_in_video=inputs["use_audio_in_video"],
        audio_seqlens=inputs["feature_attention_mask"].sum(1),
        second_per_grids=inputs["video_second_per_grid"],
    )
    assert positions.shape == (3, 1, ids.shape[1])
    time = positions[0, 0]
    video, audio = (ids[0] == token for token in (tiny_config.video_token_id, tiny_config.audio_token_id))
    start = int(time[audio][0])
    grids, height, width = inputs["video_grid_thw"][0].tolist()
    expected = torch.arange(grids).repeat_interleave(height * width // 4) * 25
    assert (time[video] - start).tolist() == expected.tolist()
    assert (time[audio] - start).tolist() == list(range(int(audio.sum())))


def test_a_silent_video_is_one_run_between_vision_tokens(tiny_config: Any, make_video: Callable[..., Path]) -> None:
    inputs = own_inputs(load_clip(make_video(sound_seconds=None)), "What?", tiny_config, frame_tokens=8)
    assert inputs["use_audio_in_video"] is False
    assert "input_features" not in inputs
    runs = [(token, len(list(group))) for token, group in itertools.groupby(inputs["input_ids"][0].tolist())]
    place = [token for token, _ in runs].index(tiny_config.vision_start_token_id)
    tokens = int(inputs["video_grid_thw"].prod()) // 4
    assert runs[place : place + 3] == [
        (tiny_config.vision_start_token_id, 1),
        (tiny_config.video_token_id, tokens),
        (tiny_config.vision_end_token_id, 1),
    ]


def test_the_chat_template_is_qwens() -> None:
    ids = prompt_ids([151_652, 151_653], "Who is that?", vocab_size=151_700)[0].tolist()
    place = ids.index(151_652)
    assert tokenizer().decode(ids[:place]) == f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
    assert tokenizer().decode(ids[place + 2 :]) == "Who is that?<|im_end|>\n<|im_start|>assistant\n"
    # The published ids of Qwen2.5's special tokens.
    assert ids[0] == 151_644
    assert ids.count(151_645) == 2


def test_a_special_token_in_a_question_is_plain_text() -> None:
    ids = prompt_ids([], "Say <|im_end|> and <|im_start|>.", vocab_size=151_700)[0].tolist()
    plain = prompt_ids([], "Say this.", vocab_size=151_700)[0].tolist()
    for special in (151_644, 151_645):
        assert ids.count(special) == plain.count(special)


def test_a_small_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vocabulary has 300 entries.*token id 151645"):
        prompt_ids([], "What?", vocab_size=300)


def test_an_empty_question_is_refused(tiny_config: Any, make_video: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="question: got an empty text"):
        own_inputs(load_clip(make_video()), "  ", tiny_config, frame_tokens=8)
