"""`v2drop`: norms of differences in float64, and the layers and shares of both variants."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seats_ops.layout import TokenLayout
from seats_ops.methods import method
from tests.methods.cases import (
    IMAGE,
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

LLAVA, QWEN = SimpleNamespace(num_hidden_layers=32), SimpleNamespace(num_hidden_layers=28)


def literal(layout: TokenLayout, change: np.ndarray, rho: dict[str, float]) -> list[int]:
    dropped: set[int] = set()
    for row in range(layout.num_rows):
        for kind in (VIDEO, IMAGE):
            mine = members(layout, row, kind)
            if kind.name.lower() in rho and mine:
                k = max(1, int(len(mine) * rho[kind.name.lower()]))
                dropped |= set(sorted(mine, key=lambda i: (-change[i], i))[k:])
    return [i for i in range(len(layout)) if i not in dropped]


@pytest.mark.parametrize(
    ("config", "variant", "ratio", "layers", "rhos"),
    [
        (LLAVA, "llava", 0.5, [3, 17, 22], [0.5, 0.5, 0.0]),
        (QWEN, "qwen2-vl", 0.25, [3, 16, 22], [0.25, 0.05, 0.0]),
        (LLAVA, "llava", {"image": 0.5}, [3, 17, 22], [0.5, 0.5, 0.0]),
    ],
    ids=["llava", "qwen2-vl", "images"],
)
def test_equals_a_literal_restatement(
    config: Any, variant: str, ratio: Any, layers: list[int], rhos: list[float]
) -> None:
    schedule = method("v2drop")(config, ratio, variant=variant)
    check_stored(schedule)
    assert [layer for layer, _ in schedule.stages()] == layers
    name = next(iter(ratio)) if isinstance(ratio, dict) else "video"
    for (_, stage), rho in zip(schedule.stages(), rhos, strict=True):
        assert stage.kv_rule == "long" and stage.inputs == ("features", "previous")
        for title, layout, tensors in cases():
            moved = tensors["features"].double().numpy() - tensors["previous"].double().numpy()
            selection, _ = run_stage(stage, layout, tensors)
            expected = literal(layout, np.round(np.linalg.norm(moved, axis=1), 12), {name: rho})
            assert kept(selection) == expected, title
            check_counts(stage, layout, selection)
            check_rows(stage, layout, tensors)


def test_what_it_is_asked_for_is_checked() -> None:
    with pytest.raises(ValueError, match="variant"):
        method("v2drop")(LLAVA, 0.5, variant="qwen")
    with pytest.raises(ValueError, match=r"layers: expected 3"):
        method("v2drop")(LLAVA, 0.5, layers=[3, 9])
    assert [layer for layer, _ in method("v2drop")(QWEN, 0.5, layers=(1, 2, 3)).stages()] == [1, 2, 3]


def test_the_device_is_left_alone() -> None:
    layout = layouts()["four prompts"]
    check_device(method("v2drop")(LLAVA, 0.5).after_layer[17][0], layout, tensors_for(layout))
