"""`random`: as many tokens as the baseline of SEATS keeps, drawn by every prompt's own generator."""

from __future__ import annotations

import pytest
import torch

from seats_ops.layout import TokenLayout
from seats_ops.methods import method
from tests.methods.cases import (
    AUDIO,
    IMAGE,
    VIDEO,
    check_counts,
    check_device,
    check_rows,
    check_stored,
    features_of,
    kept,
    layout_of,
    layouts,
    members,
    run_stage,
    tensors_for,
    video,
)

RATIOS = [0.3, 1.0, {"video": 0.07, "audio": 0.5}, {"image": 0.25}]


def literal(layout: TokenLayout, ratio: float | dict[str, float], seed: int) -> list[int]:
    ratios = ratio if isinstance(ratio, dict) else {"video": ratio, "audio": ratio}
    dropped: set[int] = set()
    for row in range(layout.num_rows):
        generator = torch.Generator().manual_seed(seed)
        for kind in (VIDEO, AUDIO, IMAGE):
            mine, r = members(layout, row, kind), ratios.get(kind.name.lower())
            if r is None or not mine:
                continue
            k = 0 if r == 0 else min(len(mine), max(1, int(r * len(mine))))
            drawn = torch.randperm(len(mine), generator=generator)[:k].tolist()
            dropped |= set(mine) - {mine[i] for i in drawn}
    return [i for i in range(len(layout)) if i not in dropped]


@pytest.mark.parametrize("ratio", RATIOS, ids=str)
def test_equals_a_literal_restatement(ratio: float | dict[str, float]) -> None:
    schedule = method("random")(None, ratio, seed=3)
    check_stored(schedule)
    (stage,) = schedule.before_llm
    for layout in layouts().values():
        tensors = tensors_for(layout)
        selection, _ = run_stage(stage, layout, tensors)
        assert kept(selection) == literal(layout, ratio, seed=3)
        check_counts(stage, layout, selection)
        check_rows(stage, layout, tensors)


def test_a_ratio_of_zero_leaves_none_and_others_at_least_one() -> None:
    schedule = method("random")(None, {"video": 0.0, "audio": 0.001})
    layout = layouts()["everything"]
    left = torch.ones(len(layout), dtype=torch.bool)
    for stage in schedule.before_llm:
        left &= run_stage(stage, layout, tensors_for(layout))[0].keep_mask
    assert left[members(layout, 0, AUDIO)].sum() == 1
    assert not left[members(layout, 0, VIDEO)].any() and left[members(layout, 0, IMAGE)].all()


def test_seeds_differ_and_repeat() -> None:
    layout = layout_of([1, video(10, 4, 4), 2])
    tensors = tensors_for(layout) | {"features": features_of("constant", len(layout))}
    chosen = [kept(run_stage(method("random")(None, 0.2, seed=n).before_llm[0], layout, tensors)[0]) for n in (0, 1, 0)]
    assert chosen[0] == chosen[2] != chosen[1]


def test_the_device_is_left_alone() -> None:
    layout = layouts()["four prompts"]
    check_device(method("random")(None, 0.3).before_llm[0], layout, tensors_for(layout))
