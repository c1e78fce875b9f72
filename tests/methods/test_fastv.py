"""`fastv` and `fastv-om`: the highest scores of every modality by sorting, and the budgets of SEATS' comparison."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seats_ops.layout import TokenLayout
from seats_ops.methods import method
from tests.methods.cases import (
    AUDIO,
    IMAGE,
    VIDEO,
    cases,
    check_counts,
    check_device,
    check_rows,
    check_stored,
    generators,
    kept,
    layouts,
    members,
    run_stage,
    tensors_for,
)

CONFIG = SimpleNamespace(num_hidden_layers=28)


def best(scores: torch.Tensor, mine: list[int], k: int) -> set[int]:
    values = scores.tolist()
    return set(sorted(mine, key=lambda i: (-values[i], i))[:k])


def literal(layout: TokenLayout, scores: torch.Tensor, ratios: dict[str, float]) -> list[int]:
    """Top-k of every modality with max(1, round(ratio * n))."""
    dropped: set[int] = set()
    for row in range(layout.num_rows):
        for kind in (VIDEO, AUDIO, IMAGE):
            mine, r = members(layout, row, kind), ratios.get(kind.name.lower())
            if mine and r is not None:
                dropped |= set(mine) - best(scores, mine, max(1, round(r * len(mine))))
    return [i for i in range(len(layout)) if i not in dropped]


@pytest.mark.parametrize(
    ("name", "ratio", "options", "later", "scores"),
    [
        ("fastv", 0.25, {}, {"video": 5 / 26}, "scores"),
        ("fastv", {"video": 0.3, "image": 0.5}, {"layer": 3}, {"video": 5.4 / 25, "image": 11 / 25}, "scores"),
        ("fastv", 0.25, {"variant": "original"}, {"video": 0.25}, "scores:last_text/attention"),
        ("fastv-om", 0.15, {}, {"video": 2.2 / 26, "audio": 2.2 / 26}, "scores"),
        ("fastv-om", {"video": 1.0, "audio": 0.35}, {}, {"video": 1.0, "audio": 7.8 / 26}, "scores"),
    ],
    ids=str,
)
def test_equals_a_literal_restatement(
    name: str, ratio: Any, options: dict[str, Any], later: dict[str, float], scores: str
) -> None:
    schedule = method(name)(CONFIG, ratio, **options)
    check_stored(schedule)
    ((layer, stage),) = schedule.stages()
    assert (layer, stage.inputs) == (options.get("layer", 2), (scores,))
    for title, layout, tensors in cases():
        selection, _ = run_stage(stage, layout, tensors)
        assert kept(selection) == literal(layout, tensors[scores], later), title
        check_counts(stage, layout, selection)
        check_rows(stage, layout, tensors)


def with_audio(layout: TokenLayout, scores: torch.Tensor, video: float, audio: float) -> list[int]:
    """Audio whole while the video can give what both are to lose; of audio that goes, a random choice."""
    dropped: set[int] = set()
    for row in range(layout.num_rows):
        v, a = members(layout, row, VIDEO), members(layout, row, AUDIO)
        r_v, r_a = video, audio
        if v and a:
            total = int(len(v) * video + len(a) * audio)
            r_v, r_a = (total - len(a)) / len(v), 1.0
            if r_v < 0.05:
                r_v, r_a = 0.05, (total - 0.05 * len(v)) / len(a)
            r_v, r_a = min(1.0, r_v), min(1.0, r_a)
        k_v, k_a = (max(1, round((r * 28 - 2) / 26 * n)) for r, n in ((r_v, len(v)), (r_a, len(a))))
        dropped |= set(v) - best(scores, v, k_v)
        drawn = torch.randperm(len(a), generator=generators(1)[0])[:k_a].tolist()
        dropped |= set(a) - {a[i] for i in drawn}
    return [i for i in range(len(layout)) if i not in dropped]


@pytest.mark.parametrize(("video", "audio"), [(0.3, 0.65), (0.1, 0.45), (0.8, 0.9), (0.5, 1.0)])
def test_audio_is_whole_where_video_can_give_what_both_are_to_lose(video: float, audio: float) -> None:
    schedule = method("fastv")(CONFIG, {"video": video, "audio": audio})
    check_stored(schedule)
    ((_, stage),) = schedule.stages()
    for layout in layouts().values():
        tensors = tensors_for(layout)
        selection, _ = run_stage(stage, layout, tensors)
        assert kept(selection) == with_audio(layout, tensors["scores"], video, audio)
        check_counts(stage, layout, selection)
        check_rows(stage, layout, tensors)


def test_the_prompts_of_the_paper() -> None:
    ((_, stage),) = method("fastv")(CONFIG, {"video": 0.2, "audio": 0.55}).stages()
    left = stage.count_tokens({"text": 20, "video": 9600, "audio": 1570, "image": 0})
    share = (int(1920 + 863.5) - 1570) / 9600
    assert left == {"text": 20, "video": round((share * 28 - 2) / 26 * 9600), "audio": 1570, "image": 0}
    # At 15 % the video falls below what two of 28 layers see of it.
    ((_, stage),) = method("fastv")(CONFIG, {"video": 0.1, "audio": 0.45}).stages()
    assert stage.count_tokens({"text": 20, "video": 9600, "audio": 1570, "image": 0})["video"] == 1


@pytest.mark.parametrize(
    ("match", "name", "ratio", "options"),
    [
        ("video", "fastv-om", {"video": 0.06, "audio": 0.35}, {}),
        ("video", "fastv", 0.07, {}),
        ("layer", "fastv", 0.5, {"layer": 0}),
        ("layer", "fastv-om", 0.5, {"layer": 28}),
        ("variant", "fastv", 0.5, {"variant": "paper"}),
        ("audio", "fastv", {"audio": 0.5}, {}),
    ],
    ids=str,
)
def test_what_cannot_be_reached_is_refused(match: str, name: str, ratio: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=match):
        method(name)(CONFIG, ratio, **options)
    with pytest.raises(TypeError, match="config"):
        method(name)(None, 0.5)


def test_the_device_is_left_alone() -> None:
    layout = layouts()["four prompts"]
    check_device(method("fastv")(CONFIG, {"video": 0.3, "audio": 0.65}).after_layer[2][0], layout, tensors_for(layout))
