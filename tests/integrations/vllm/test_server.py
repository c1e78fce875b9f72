"""vLLM's OpenAI-compatible server with the plugin: files in, pruned prompts, answers, and errors of one request."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm")

from tests.integrations.vllm.cases import SCHEDULES, clip, tone
from tests.integrations.vllm.checkpoint import tokenizer
from tests.integrations.vllm.clips import data_url, mp4
from tests.integrations.vllm.predicted import of_clip, planned
from tests.integrations.vllm.serving import Server, running, text, video

CONTEXT = 512
QUESTION = "What happens?"
WITH_SOUND = {"mm_processor_kwargs": {"use_audio_in_video": True}}


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with running(checkpoint, SCHEDULES["weighted"], log, max_model_len=CONTEXT) as found:
        yield found


@cache
def six_seconds() -> str:
    """Eight frames a second, of which the server is told to take two, and a sound track."""
    return data_url(mp4(clip(1, 48), 8, tone(2, 6.0)))


def text_tokens(question: str, *, mark: bool = False, sound: bool = False) -> int:
    """Of a message in the checkpoint's template; a clip has a begin and an end, and those of its sound."""
    said = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    return len(tokenizer()(said)["input_ids"]) + 2 * mark + 2 * sound


def answer_of(response: Any) -> tuple[int, str, list[int]]:
    """Tokens of the prompt, the answer, its tokens."""
    assert response.status_code == 200, response.text
    told = response.json()
    (choice,) = told["choices"]
    assert told["usage"]["completion_tokens"] == len(choice["token_ids"]) == 16
    return told["usage"]["prompt_tokens"], choice["message"]["content"], choice["token_ids"]


def test_text(server: Server) -> None:
    assert answer_of(server.chat(text(QUESTION)))[0] == text_tokens(QUESTION)


@pytest.mark.parametrize("sound", [False, True])
def test_a_file_is_as_long_as_planned_and_streams_the_same_answer(server: Server, sound: bool) -> None:
    given, options = (video(six_seconds()), text(QUESTION)), WITH_SOUND if sound else {}
    plan = planned(SCHEDULES["weighted"], of_clip(text_tokens(QUESTION, mark=True, sound=sound), 6.0, sound=sound))
    length, said, ids = answer_of(server.chat(*given, **options))
    assert length == plan.pruned.tokens < plan.whole.tokens
    *pieces, last = server.streamed(*given, **options)
    assert last["usage"]["prompt_tokens"] == length
    choices = [piece["choices"][0] for piece in pieces]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == said
    assert [number for choice in choices for number in choice.get("token_ids") or ()] == ids
    assert len([choice for choice in choices if choice.get("token_ids")]) > 1


def test_the_sound_counts(server: Server) -> None:
    others = video(data_url(mp4(clip(1, 48), 8, tone(5, 6.0))))
    one, other = (answer_of(server.chat(part, text(QUESTION), **WITH_SOUND)) for part in (video(six_seconds()), others))
    assert one[0] == other[0] and one[2] != other[2]


def test_no_request_changes_the_schedule(server: Server) -> None:
    """Neither where the processor looks nor where the model does."""
    given = video(six_seconds()), text(QUESTION)
    expected = answer_of(server.chat(*given))
    everything = SCHEDULES["all kept"].to_dict()
    assert answer_of(server.chat(*given, seats_ops=everything, hf_overrides={"seats_ops": everything})) == expected
    tried = server.chat(*given, mm_processor_kwargs={"seats_ops": everything})
    assert 400 <= tried.status_code < 500 or answer_of(tried) == expected
    assert answer_of(server.chat(*given)) == expected


def test_media_that_last_too_long_together_are_refused_from_the_cache_too(server: Server) -> None:
    """Of a table of 16,384 the context needs 512. The sixth grid begins at 5 * 2 / 0.03 * 25 = 8,333; 30 stay."""
    slow = {"mm_processor_kwargs": {"fps": 0.03}}
    one, expected = video(six_seconds()), answer_of(server.chat(video(six_seconds()), **slow))
    for _ in range(2):
        response = server.chat(one, one, **slow)
        assert response.status_code == 400
        assert "expected positions at most 15872 ahead of tokens, got 16608" in response.json()["error"]["message"]
    assert answer_of(server.chat(one, **slow)) == expected


BROKEN: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "no video": (b"this is no video", {}, "could not open video stream"),
    "sound alone": (mp4(samples=tone(1, 1.0)), {}, "could not open video stream"),
    "cut short": (mp4(clip(1, 16), 8)[:600], {}, "could not open video stream"),
    "no sound track": (mp4(clip(1, 16), 8), WITH_SOUND, "no audio stream"),
    "time backwards": (mp4(clip(1, 16), 8), {"mm_processor_kwargs": {"fps": -1}}, "fps: expected a number above 0"),
    # Grids of 5,000 positions.
    "hours": (mp4(clip(1, 64), 8), {"mm_processor_kwargs": {"fps": 0.01}}, "ahead of tokens"),
    # 120 grids of 16 tokens, two of them a block, of which 0.3 * 32 = 9.6, so 10, stay: 600 and the text.
    "too long": (mp4(np.repeat(clip(1, 2), 120, 0), 2), {}, f"maximum context length ({CONTEXT})"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_request_is_told_so_and_the_next_one_answered(server: Server, name: str) -> None:
    content, options, reason = BROKEN[name]
    expected = answer_of(server.chat(video(six_seconds()), text(QUESTION), **WITH_SOUND))
    response = server.chat(video(data_url(content)), text(QUESTION), **options)
    assert 400 <= response.status_code < 500, response.text
    assert reason in response.json()["error"]["message"].lower()
    if name == "too long":
        assert f"length ({600 + text_tokens(QUESTION, mark=True)})" in response.json()["error"]["message"]
    assert answer_of(server.chat(video(six_seconds()), text(QUESTION), **WITH_SOUND)) == expected
