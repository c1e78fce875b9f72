"""`pyramiddrop`: three drops, each counted from the prompt as it came in."""

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
    Found,
    cases,
    check_device,
    check_rows,
    check_stored,
    kept,
    layouts,
    members,
    run_stage,
    tensors_for,
)

CONFIG = SimpleNamespace(text_config=SimpleNamespace(num_hidden_layers=32))
SCORES = "scores:instruction/next"


def literal(
    layout: TokenLayout, there: list[int], scores: list[float], ratios: dict[str, float], power: int
) -> list[int]:
    """What a drop leaves of the tokens `there`."""
    dropped: set[int] = set()
    for row in range(layout.num_rows):
        for kind in (VIDEO, AUDIO, IMAGE):
            if kind.name.lower() in ratios:
                original = members(layout, row, kind)
                mine = [i for i in original if i in there]
                k = int(len(original) * ratios[kind.name.lower()] ** power)
                dropped |= set(sorted(mine, key=lambda i: (-scores[i], i))[k:])
    return [i for i in there if i not in dropped]


def thinned(layout: TokenLayout, tensors: dict[str, Any], there: list[int]) -> tuple[TokenLayout, dict[str, Any]]:
    mask = torch.zeros(len(layout), dtype=torch.bool)
    mask[there] = True
    whole = ("counts", "generators")
    return layout.select(mask), {n: x if n in whole else x[mask] for n, x in tensors.items()}


@pytest.mark.parametrize(
    ("ratio", "ratios"),
    [(0.5, {"video": 0.5}), ({"video": 0.7, "image": 0.5, "audio": 0.9}, {"video": 0.7, "image": 0.5, "audio": 0.9})],
    ids=str,
)
def test_equals_a_literal_restatement(ratio: Any, ratios: dict[str, float]) -> None:
    schedule = method("pyramiddrop")(CONFIG, ratio)
    check_stored(schedule)
    assert [layer for layer, _ in schedule.stages()] == [8, 16, 24]
    for title, layout, tensors in cases():
        there = list(range(len(layout)))
        for power, (_, stage) in enumerate(schedule.stages(), 1):
            # Every drop has scores of its own.
            tensors[SCORES] = tensors[SCORES].roll(power)
            part, given = thinned(layout, tensors, there)
            selection, _ = run_stage(stage, part, given)
            assert selection.positions == "renumbered"
            expected = literal(layout, there, tensors[SCORES].tolist(), ratios, power)
            assert [there[i] for i in kept(selection)] == expected, f"{title}, drop {power}"
            check_rows(stage, part, given)
            for row in range(layout.num_rows):
                found = Found(part, row)
                found.before = dict(Found(layout, row))
                start, end = layout.cu_seqlens[row : row + 2].tolist()
                assert sum(stage.count_tokens(found).values()) == sum(start <= i < end for i in expected)
            there = expected


def test_the_paper_keeps_an_eighth_in_the_end() -> None:
    ((_, first), (_, second), (_, third)) = method("pyramiddrop")(CONFIG, 0.5).stages()
    assert [stage.keep_ratio["video"] for stage in (first, second, third)] == [0.5, 0.25, 0.125]
    assert {stage.kv_rule for stage in (first, second, third)} == {"long"} and third.renumbers
    layout = layouts()["one video"]
    assert first.count_tokens(Found(layout, 0))["video"] == 60
    assert kept(run_stage(third, layout, tensors_for(layout))[0]) != list(range(len(layout)))


def test_layers_scale_with_depth_or_are_given() -> None:
    shallow = SimpleNamespace(num_hidden_layers=28)
    assert [layer for layer, _ in method("pyramiddrop")(shallow, 0.5).stages()] == [7, 14, 21]
    schedule = method("pyramiddrop")(shallow, 0.5, layers=[3, 9])
    assert [(layer, stage.keep_ratio["video"]) for layer, stage in schedule.stages()] == [(3, 0.5), (9, 0.25)]
    for layers in ((0, 3), (9, 3), (3, 28)):
        with pytest.raises(ValueError, match="layers"):
            method("pyramiddrop")(shallow, 0.5, layers=layers)
    with pytest.raises(ValueError, match="by scaling"):
        method("pyramiddrop")(SimpleNamespace(num_hidden_layers=2), 0.5)
    with pytest.raises(TypeError, match="config"):
        method("pyramiddrop")(None, 0.5)


def test_the_device_is_left_alone() -> None:
    layout = layouts()["four prompts"]
    check_device(method("pyramiddrop")(CONFIG, 0.5).after_layer[16][0], layout, tensors_for(layout))
