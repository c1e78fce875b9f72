"""`windows="time"`: slices of two seconds of the i-th video and the i-th audio of a prompt."""

from __future__ import annotations

from itertools import groupby
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from seats_ops import StagePruner, UnsupportedModelState
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.batching import (
    alone,
    answers,
    assert_kept_alike,
    assert_rows_alike,
    batch_of,
    rows_of,
)
from tests.integrations.huggingface.prompts import Audio, Image, Part, Text, Video, build_prompt
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.integrations.huggingface.upstream import needs

ONE = [Text(4), Video((6, 4, 6), 1.0), Audio(431), Text(5)]
SEVERAL = [
    *[Text(3), Video((7, 4, 6), 0.5), Text(2), Video((3, 6, 8), 1.5), Audio(330), Text(1)],
    *[Image((1, 4, 4)), Audio(190), Audio(95), Text(6)],
]
CLIPS = [[((6, 4, 6), 1.0), ((4, 4, 8), 0.5)], [((3, 4, 6), 2.0)]]
INTERLEAVED = [Text(9), Video((5, 4, 6), 1.0, mel_frames=430), Text(2), Video((2, 4, 4), 2.0, mel_frames=130), Text(7)]


@pytest.fixture
def attention() -> str:
    return "sdpa"


def slices_of(config: Any, row: dict[str, Any], parts: list[Part]) -> list[tuple[int, int] | None]:
    """(clip, two-second slice) of every column: time in a video is its grid's, in a sound 25 tokens make a second."""
    videos = [part for part in parts if isinstance(part, Video)]
    clips, done = {"video": -1, "audio": -1}, {"video": 0, "audio": 0}
    kinds = {config.video_token_id: "video", config.audio_token_id: "audio"}
    found: list[tuple[int, int] | None] = []
    previous: str | None = "text"
    for kind, run in groupby(row["input_ids"][0].tolist(), key=kinds.get):
        length = len(list(run))
        if kind is None:
            found += [None] * length
        else:
            if previous is None or previous == "text" or kind not in previous:
                clips[kind], done[kind] = clips[kind] + 1, 0
            for index in range(done[kind], done[kind] + length):
                if kind == "video":
                    clip = videos[clips[kind]]
                    second = index // (clip.grid[1] * clip.grid[2] // 4) * clip.seconds_per_grid
                else:
                    second = index / 25
                found.append((clips[kind], int(second // 2)))
            done[kind] += length
        previous = None if kind is None else f"{previous or ''} {kind}"
    return found


def windows_used(thinker: nn.Module, inputs: dict[str, Any]) -> Tensor:
    """Window ids at the first StagePruner, over the rows of `inputs`, and -1 at padding."""
    seen: list[Any] = []
    select = StagePruner.select

    def selecting(self: StagePruner, scores: Tensor, layout: Any, **kwargs: Any) -> Any:
        seen.append(layout)
        return select(self, scores, layout, **kwargs)

    schedule = SCHEDULES["pruners_only"](thinker.config)
    with (
        patch.object(StagePruner, "select", selecting),
        torch.no_grad(),
        attach(thinker, schedule, windows="time"),
    ):
        thinker(**inputs)
    windows = torch.full(inputs["input_ids"].shape, -1)
    windows[seen[0].rows(), seen[0].position] = seen[0].window.long()
    return windows


@pytest.mark.parametrize("parts", [ONE, SEVERAL, INTERLEAVED], ids=["one", "several", "interleaved"])
def test_windows_are_slices_of_a_clip(thinker: nn.Module, parts: list[Part]) -> None:
    inputs = build_prompt(thinker.config, *parts)
    expected = slices_of(thinker.config, inputs, parts)
    assert len(set(expected)) > 3
    numbers = {key: i for i, key in enumerate(sorted(key for key in set(expected) if key is not None))}
    assert windows_used(thinker, inputs)[0].tolist() == [-1 if key is None else numbers[key] for key in expected]


def test_windows_of_a_batch_ascend_over_its_rows(thinker: nn.Module) -> None:
    rows = [build_prompt(thinker.config, *parts, seed=1) for parts in (ONE, [Text(7)], SEVERAL)]
    got = windows_used(thinker, batch_of(rows, "right"))
    first = 0
    for row, windows in zip(rows, got, strict=True):
        single = windows_used(thinker, row)[0]
        assert windows[: len(single)].tolist() == [w if w < 0 else w + first for w in single.tolist()]
        first += int(single.max()) + 1


@pytest.mark.parametrize("kind", ["separate", "interleaved"])
@pytest.mark.parametrize("name", ["preset", "pruners_only"])
def test_batches_agree_with_their_rows(thinker: nn.Module, kv_policy: str, kind: str, name: str) -> None:
    rows, schedule = rows_of(thinker.config, kind), SCHEDULES[name](thinker.config)
    expected = alone(thinker, rows, schedule, kv_policy=kv_policy, windows="time")
    if kind == "separate":
        by_runs = alone(thinker, rows, schedule, kv_policy=kv_policy)
        assert any(not torch.equal(a.kept[1], b.kept[1]) for a, b in zip(expected, by_runs, strict=True))
    batch = batch_of(rows)
    with attach(thinker, schedule, kv_policy=kv_policy, windows="time") as trace:
        ids, logits = answers(thinker, batch)
        assert_kept_alike(trace, batch, expected)
    assert_rows_alike(ids, logits, expected)


@needs("copies of media")
@needs("copies of several media")
def test_several_answers(thinker: nn.Module) -> None:
    """`generate` copies what it was given for every answer."""
    rows = [build_prompt(thinker.config, Text(5), *[Video(grid, s) for grid, s in clips], Text(4)) for clips in CLIPS]
    schedule = SCHEDULES["preset"](thinker.config)
    expected = alone(thinker, rows, schedule, windows="time")
    batch = batch_of(rows)
    with attach(thinker, schedule, windows="time") as trace:
        thinker.generate(**batch, max_new_tokens=2, num_beams=3, do_sample=False)
    assert_kept_alike(trace, batch, expected)


@pytest.mark.parametrize("entry", ["generate", "forward"])
def test_without_seconds_per_grid(thinker: nn.Module, entry: str) -> None:
    inputs = build_prompt(thinker.config, *ONE)
    del inputs["video_second_per_grid"]
    with attach(thinker, SCHEDULES["pruners_only"](thinker.config), windows="time"):
        with (
            probes.produced_logits(thinker) as produced,
            pytest.raises(UnsupportedModelState, match="video_second_per_grid"),
        ):
            thinker(**inputs) if entry == "forward" else thinker.generate(**inputs, max_new_tokens=2)
        assert produced == []


def test_seconds_for_another_number_of_videos(thinker: nn.Module) -> None:
    inputs = build_prompt(thinker.config, *SEVERAL)
    schedule = SCHEDULES["pruners_only"](thinker.config)
    inputs["position_ids"] = torch.arange(inputs["input_ids"].shape[1]).expand(3, 1, -1)
    with (
        attach(thinker, schedule, windows="time"),
        pytest.raises(ValueError, match=r"seconds_per_grid.*2 videos, got 1"),
    ):
        thinker(**inputs | {"video_second_per_grid": torch.tensor([1.0])})


def test_prompts_without_video(thinker: nn.Module) -> None:
    sound = build_prompt(thinker.config, Text(5), Audio(431), Text(4))
    assert windows_used(thinker, sound)[0].unique().tolist() == [-1, 0, 1, 2]
    text = build_prompt(thinker.config, Text(9))
    assert windows_used(thinker, text)[0].unique().tolist() == [-1]


def test_an_unknown_name_is_refused(thinker: nn.Module) -> None:
    with pytest.raises(ValueError, match="windows"), attach(thinker, SCHEDULES["pruners_only"](None), windows="clock"):
        pass
