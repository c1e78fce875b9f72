"""`pooled`: means of cells, by loops over rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seats_ops import Schedule
from seats_ops.layout import TokenLayout
from seats_ops.methods import method
from seats_ops.methods.pooled import AveragePool
from tests.methods.cases import (
    IMAGE,
    VIDEO,
    cases,
    check_counts,
    check_device,
    check_rows,
    check_stored,
    frames_of,
    kept,
    layouts,
    merge_sums,
    row_alone,
    run_stage,
    tensors_for,
)


def literal(layout: TokenLayout, features: torch.Tensor, a: int, b: int, kind: int) -> dict[int, np.ndarray]:
    """Token -> its value, for all that stay."""
    x = features.double().numpy()
    out = {i: x[i] for i in range(len(layout))}
    for item, shape in enumerate(layout.shapes or ()):
        if shape.modality != kind:
            continue
        for frame in frames_of(layout, item):
            for top in range(0, shape.h, a):
                for left in range(0, shape.w, b):
                    ys, xs = range(top, min(top + a, shape.h)), range(left, min(left + b, shape.w))
                    cell = [frame[y * shape.w + x] for y in ys for x in xs]
                    centre = frame[ys[(len(ys) - 1) // 2] * shape.w + xs[(len(xs) - 1) // 2]]
                    mean = sum(x[i] for i in cell) / len(cell)
                    for i in cell:
                        del out[i]
                    out[centre] = mean
    return out


@pytest.mark.parametrize(
    ("ratio", "options", "cell"),
    [
        (0.25, {}, (2, 2)),
        (0.5, {}, (1, 2)),
        (1 / 9, {}, (3, 3)),
        (0.33, {}, (1, 3)),
        (0.25, {"cell": (4, 1)}, (4, 1)),
        (1.0, {}, (1, 1)),
    ],
    ids=str,
)
def test_equals_a_literal_restatement(ratio: float, options: dict[str, Any], cell: tuple[int, int]) -> None:
    schedule = method("pooled")(None, ratio, **options)
    assert schedule == Schedule(AveragePool(*cell))
    check_stored(schedule)
    (stage,) = schedule.before_llm
    for name, layout, tensors in cases():
        selection, values = run_stage(stage, layout, tensors)
        expected = literal(layout, tensors["features"], *cell, VIDEO)
        assert kept(selection) == sorted(expected), name
        wanted = np.stack([expected[i] for i in sorted(expected)])
        np.testing.assert_allclose(values[selection.keep_mask].numpy(), wanted, rtol=1e-5, atol=1e-6, err_msg=name)
        assert all(abs(total - 1) < 1e-6 for total in merge_sums(selection).values())
        check_counts(stage, layout, selection)


def test_a_mapping_names_pictures() -> None:
    video_stage, image_stage = method("pooled")(None, {"video": 0.5, "image": 0.25}).before_llm
    assert (video_stage, image_stage) == (AveragePool(1, 2), AveragePool(2, 2, modality="image"))
    layout = layouts()["four prompts"]
    tensors = tensors_for(layout)
    expected = literal(layout, tensors["features"], 2, 2, IMAGE)
    assert kept(run_stage(image_stage, layout, tensors)[0]) == sorted(expected)
    check_rows(image_stage, layout, tensors)
    check_rows(video_stage, layout, tensors)


def test_what_is_left_of_a_thinned_cell_stands_nearest_to_the_centre() -> None:
    layout = layouts()["one frame"]  # Tokens 2 to 13 are the rows of a grid of 3 x 4.
    keep = torch.ones(len(layout), dtype=torch.bool)
    keep[[2, 6, 7, 12]] = False
    tensors = tensors_for(layout)
    rest = {name: x[keep] for name, x in tensors.items() if isinstance(x, torch.Tensor) and name != "counts"}
    thinned = layout.select(keep)
    selection, values = run_stage(AveragePool(2, 2), thinned, rest)
    assert thinned.position[selection.keep_mask].tolist() == [0, 1, 3, 4, 10, 13, *range(14, 19)]
    place = thinned.position.tolist().index(4)
    assert torch.allclose(values[place], tensors["features"][[4, 5, 8, 9]].mean(0))


@pytest.mark.parametrize(
    ("ratio", "options"),
    [(0.4, {}), (0.0, {}), (0.25, {"cell": (1, 2)}), ({"audio": 0.5}, {}), (0.5, {"cell": (2,)})],
    ids=str,
)
def test_ratios_that_no_cell_leaves_are_refused(ratio: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"ratio|cell"):
        method("pooled")(None, ratio, **options)


def test_other_tokens_do_not_leak_in() -> None:
    layout = layouts()["video and audio"]
    tensors = tensors_for(layout)
    tensors["features"][~layout.is_modality(VIDEO)] = torch.nan
    _, values = run_stage(AveragePool(2, 2), layout, tensors)
    assert values[layout.is_modality(VIDEO)].isfinite().all()
    alone, share = row_alone(layout, 0, tensors)
    assert len(alone) == len(layout) and set(share) == set(tensors)


def test_the_device_is_left_alone() -> None:
    layout = layouts()["four prompts"]
    check_device(AveragePool(2, 2), layout, tensors_for(layout))
