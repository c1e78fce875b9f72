"""`uniform`: rounded places of an even spread, in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest

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
    kept,
    layouts,
    members,
    run_stage,
    tensors_for,
)


def literal(layout: TokenLayout, ratio: float | dict[str, float]) -> list[int]:
    ratios = ratio if isinstance(ratio, dict) else {"video": ratio, "audio": ratio}
    dropped: set[int] = set()
    for row in range(layout.num_rows):
        for kind in (VIDEO, AUDIO, IMAGE):
            mine, r = members(layout, row, kind), ratios.get(kind.name.lower())
            if r is None or not mine:
                continue
            n, k = len(mine), max(1, round(r * len(mine)))
            places = {0} if k == 1 else {round(Fraction(i * (n - 1), k - 1)) for i in range(k)}
            assert len(places) == k
            dropped |= {token for i, token in enumerate(mine) if i not in places}
    return [i for i in range(len(layout)) if i not in dropped]


@pytest.mark.parametrize("ratio", [0.3, 0.5, 1.0, 0.0, {"video": 0.07, "audio": 0.9}, {"image": 0.25}], ids=str)
def test_equals_a_literal_restatement(ratio: float | dict[str, float]) -> None:
    schedule = method("uniform")(None, ratio)
    check_stored(schedule)
    (stage,) = schedule.before_llm
    for layout in layouts().values():
        tensors = tensors_for(layout)
        selection, _ = run_stage(stage, layout, tensors)
        assert kept(selection) == literal(layout, ratio)
        check_counts(stage, layout, selection)
        check_rows(stage, layout, tensors)


def test_the_device_is_left_alone() -> None:
    layout = layouts()["four prompts"]
    check_device(method("uniform")(None, 0.3).before_llm[0], layout, tensors_for(layout))
