"""StagePruner: the best of every window and modality, and what it must leave alone."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import Modality, StagePruner, TokenLayout, WindowBudgetAllocator
from seats_ops.testing import layout_of_runs
from seats_ops.testing.strategies import batch_runs, keep_ratios, seeds

V, A, T, I = Modality.VIDEO, Modality.AUDIO, Modality.TEXT, Modality.IMAGE  # noqa: E741 - letters draw the prompts


def scores_for(layout: TokenLayout, seed: int, steps: int | None = None) -> Tensor:
    """Uniform scores; with `steps`, multiples of 1/steps, which tie often."""
    scores = torch.rand(len(layout.modality), generator=torch.Generator().manual_seed(seed))
    return scores if steps is None else (scores * steps).floor() / steps


@settings(max_examples=60)
@given(batch_runs(), keep_ratios(), keep_ratios(), seeds(), st.sampled_from([None, 2, 5]))
def test_keeps_the_best_of_every_window_and_modality(
    rows: list, video: float, audio: float, seed: int, steps: int | None
) -> None:
    layout = layout_of_runs(rows)
    scores, ratio = scores_for(layout, seed, steps), {"video": video, "audio": audio}
    before = scores.clone()

    keep = StagePruner(ratio)(scores, layout)

    assert torch.equal(scores, before)
    budgets = WindowBudgetAllocator()(scores, layout, ratio).tolist()
    expected = [m in (int(T), int(I)) for m in layout.modality.tolist()]
    for window, budget in enumerate(budgets):
        for m, count in zip((V, A), budget, strict=True):
            members = torch.nonzero((layout.window == window) & (layout.modality == int(m))).flatten().tolist()
            for i in sorted(members, key=lambda i: -float(scores[i]))[:count]:
                expected[i] = True
    assert keep.tolist() == expected


@settings(max_examples=40)
@given(batch_runs(max_rows=1), st.lists(st.floats(0.2, 1.0), min_size=2, max_size=3), seeds())
def test_stages_are_nested_and_text_stays(rows: list, ratios: list[float], seed: int) -> None:
    layout = layout_of_runs(rows)
    text = layout.position[layout.modality == int(T)].tolist()
    for step, ratio in enumerate(ratios):
        rest = layout.select(StagePruner(ratio)(scores_for(layout, seed + step), layout))
        assert set(rest.position.tolist()) <= set(layout.position.tolist())
        assert rest.position.tolist() == sorted(rest.position.tolist())
        assert [p for p, m in zip(rest.position.tolist(), rest.modality.tolist(), strict=True) if m == int(T)] == text
        layout = rest


@pytest.mark.parametrize("windows", ["runs", "layout"])
@settings(max_examples=30)
@given(batch_runs(max_rows=4), keep_ratios(), seeds())
def test_a_row_in_a_batch_equals_the_row_alone(windows: str, rows: list, ratio: float, seed: int) -> None:
    layout = layout_of_runs(rows)
    scores, pruner = scores_for(layout, seed, 50), StagePruner(ratio, windows=windows)
    keep = pruner(scores, layout)
    lengths = (layout.cu_seqlens[1:] - layout.cu_seqlens[:-1]).tolist()
    alone = [pruner(part, layout_of_runs([row])) for row, part in zip(rows, scores.split(lengths), strict=True)]
    assert torch.equal(keep, torch.cat(alone))


@pytest.mark.parametrize(("named", "other"), [(V, A), (A, V)])
def test_a_mapping_leaves_alone_what_it_does_not_name(named: Modality, other: Modality) -> None:
    layout = layout_of_runs([[(T, 2), (V, 9), (A, 6), (T, 1), (V, 9), (A, 6)], [(V, 4), (A, 4)]])
    keep = StagePruner({named.name.lower(): 0.5})(scores_for(layout, 2), layout)
    assert bool(keep[layout.modality != int(named)].all())
    start = int(layout.cu_seqlens[1])
    for row in (slice(0, start), slice(start, None)):
        mine = layout.modality[row] == int(named)
        assert int(keep[row][mine].sum()) == round(0.5 * int(mine.sum()))


def test_ratio_one_is_the_identity() -> None:
    layout = layout_of_runs([[(T, 2), (V, 9), (A, 5), (T, 1), (V, 3)], [(A, 4)]])
    for windows in ("layout", "runs"):
        assert bool(StagePruner(1.0, windows=windows)(scores_for(layout, 0), layout).all())


@pytest.mark.parametrize("windows", ["runs", "layout"])
@pytest.mark.parametrize("rows", [[], [[]], [[(T, 4)]], [[(V, 1)]], [[(A, 3)], [], [(T, 2), (I, 3)]]])
def test_unusual_prompts(rows: list, windows: str) -> None:
    layout = layout_of_runs(rows)
    keep = StagePruner(0.01, windows=windows)(scores_for(layout, 0), layout)
    media = (layout.modality == int(V)) | (layout.modality == int(A))
    assert bool(keep[~media].all()) and int(keep[media].sum()) == (1 if bool(media.any()) else 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_scores_are_deterministic_with_exact_counts(bad: float) -> None:
    layout = layout_of_runs([[(T, 1), (V, 10)], [(V, 6), (A, 6), (T, 1), (V, 6), (A, 6)]])
    scores = scores_for(layout, 0)
    clean = StagePruner(0.5)(scores, layout)
    scores[[0, 13, 14, 20]] = bad
    keep = StagePruner(0.5)(scores, layout)
    assert torch.equal(keep, StagePruner(0.5)(scores, layout))
    assert torch.equal(keep[:11], clean[:11])
    budgets = WindowBudgetAllocator()(scores, layout, 0.5)
    assert int(keep.sum()) == 2 + int(budgets.sum())


def test_memory_layout_and_dtypes() -> None:
    layout = layout_of_runs([[(T, 2), (V, 9), (A, 5), (T, 1), (V, 7), (A, 7)]])
    scores, pruner = scores_for(layout, 3, 64), StagePruner(0.4)
    keep = pruner(scores, layout)
    assert torch.equal(pruner(scores.repeat_interleave(2)[::2], layout), keep)
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(pruner(scores.to(dtype), layout), keep)
    narrow = TokenLayout(
        *(x.int() for x in (layout.modality, layout.position, layout.cu_seqlens, layout.block, layout.window))
    )
    assert torch.equal(pruner(scores, narrow), keep)


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("keep_ratio", {"keep_ratio": 1.01}, ValueError),
        ("keep_ratio", {"keep_ratio": -0.1}, ValueError),
        ("keep_ratio", {"keep_ratio": math.nan}, ValueError),
        ("keep_ratio", {"keep_ratio": "half"}, TypeError),
        ("keep_ratio", {"keep_ratio": {"image": 0.5}}, ValueError),
        ("keep_ratio", {"keep_ratio": {"video": 2}}, ValueError),
        ("allocator", {"keep_ratio": 0.5, "allocator": 0.1}, TypeError),
        ("windows", {"keep_ratio": 0.5, "windows": "adjacency"}, ValueError),
    ],
)
def test_bad_settings_are_named(name: str, arguments: dict, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        StagePruner(**arguments)


def test_bad_arguments_are_named() -> None:
    layout = layout_of_runs([[(T, 2), (V, 6)]])
    scores, pruner = scores_for(layout, 0), StagePruner(0.5)
    with pytest.raises(ValueError, match="scores"):
        pruner(scores[:5], layout)
    with pytest.raises(ValueError, match="scores"):
        pruner(scores[None], layout)
    with pytest.raises(TypeError, match="scores"):
        pruner(scores.long(), layout)
    with pytest.raises(ValueError, match=r"scores|modality"):
        pruner(scores.to("meta"), layout)


@pytest.mark.parametrize("windows", ["runs", "layout"])
def test_a_layout_is_asked_for(windows: str) -> None:
    with pytest.raises(TypeError, match="layout"):
        StagePruner(0.5, windows=windows)(torch.ones(3), torch.ones(3))


def test_is_a_frozen_comparable_value() -> None:
    pruner = StagePruner(0.5)
    assert pruner == StagePruner(0.5, allocator=WindowBudgetAllocator(0.1), windows="layout")
    assert pruner != StagePruner(0.5, windows="runs")
    assert pruner != StagePruner(0.5, allocator=WindowBudgetAllocator(0.3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        pruner.windows = "runs"
