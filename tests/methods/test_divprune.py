"""`divprune` and `divprune-om`: greedy max-min by loops in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seats_ops.layout import TokenLayout
from seats_ops.methods import method
from tests.methods.cases import (
    AUDIO,
    VIDEO,
    cases,
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


def diverse(x: np.ndarray, k: int) -> list[int]:
    """The first pick lies farthest from its nearest other, the next ones from all before; none twice."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    distance = np.round(1.0 - unit @ unit.T, 12)
    n, picked = len(x), []
    while len(picked) < k:
        scores = []
        for j in range(n):
            column = sorted(distance[:, j]) if not picked else [min(distance[s, j] for s in picked)]
            scores.append(-np.inf if j in picked else column[min(1, n - 1)] if not picked else column[0])
        picked.append(int(np.argmax(scores)))
    return picked


def literal(layout: TokenLayout, features: np.ndarray, ratios: dict[str, float]) -> list[int]:
    dropped: set[int] = set()
    for row in range(layout.num_rows):
        for kind in (VIDEO, AUDIO):
            mine, r = members(layout, row, kind), ratios.get(kind.name.lower())
            if mine and r is not None:
                picked = diverse(features[mine], round(r * len(mine)))
                dropped |= set(mine) - {mine[i] for i in picked}
    return [i for i in range(len(layout)) if i not in dropped]


@pytest.mark.parametrize(
    ("name", "ratio", "ratios"),
    [
        ("divprune", 0.2, {"video": 0.2}),
        ("divprune-om", 0.1, {"video": 0.1, "audio": 0.1}),
        ("divprune-om", {"audio": 0.3, "video": 1.0}, {"audio": 0.3}),
    ],
    ids=str,
)
def test_equals_a_literal_restatement(name: str, ratio: Any, ratios: dict[str, float]) -> None:
    schedule = method(name)(None, ratio)
    check_stored(schedule)
    (stage,) = schedule.before_llm
    assert stage.inputs == ("features",)
    for title, layout, tensors in cases():
        selection, _ = run_stage(stage, layout, tensors)
        expected = literal(layout, tensors["features"].double().numpy(), ratios)
        assert kept(selection) == expected, title
        check_counts(stage, layout, selection)
        check_rows(stage, layout, tensors)


def test_the_device_is_left_alone() -> None:
    layout = layouts()["four prompts"]
    check_device(method("divprune-om")(None, 0.3).before_llm[0], layout, tensors_for(layout))
