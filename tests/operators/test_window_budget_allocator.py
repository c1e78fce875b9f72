"""WindowBudgetAllocator: totals from ratios, budgets from window_budget, decided per prompt."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seats_ops import Modality, TokenLayout, WindowBudgetAllocator
from seats_ops import functional as F
from seats_ops.testing import layout_of_runs
from seats_ops.testing.strategies import batch_runs, keep_ratios, seeds

V, A, T = Modality.VIDEO, Modality.AUDIO, Modality.TEXT


def scores_for(layout: TokenLayout, seed: int) -> torch.Tensor:
    return torch.rand(len(layout.modality), generator=torch.Generator().manual_seed(seed))


def totals_of(layout: TokenLayout, ratio: dict[str, float]) -> list[list[int]]:
    """max(1, round(ratio * n)) per prompt and modality, 0 of none; Python rounds half to even."""
    bounds = layout.cu_seqlens.tolist()
    rows = [layout.modality[start:end] for start, end in itertools.pairwise(bounds)]
    counts = [[int((row == int(m)).sum()) for m in (V, A)] for row in rows]
    ratios = ratio["video"], ratio["audio"]
    return [[max(1, round(r * n)) if n else 0 for n, r in zip(c, ratios, strict=True)] for c in counts]


@settings(max_examples=50)
@given(batch_runs(), keep_ratios(), keep_ratios(), st.sampled_from([0.1, 0.3]), seeds(), st.booleans())
def test_is_window_budget_of_the_rounded_totals(
    rows: list, video: float, audio: float, temperature: float, seed: int, host_lengths: bool
) -> None:
    layout = layout_of_runs(rows)
    num_windows = layout.num_windows
    if not host_lengths:
        layout = dataclasses.replace(layout, num_windows=None)
    scores, ratio = scores_for(layout, seed), {"video": video, "audio": audio}

    budgets = WindowBudgetAllocator(temperature)(scores, layout, ratio)

    windows_per_row = [layout_of_runs([row]).num_windows for row in rows]
    expected = F.window_budget(
        scores,
        layout.modality,
        layout.window,
        torch.tensor(totals_of(layout, ratio)),
        num_windows=num_windows,
        temperature=temperature,
        window_offsets=torch.tensor([0, *windows_per_row]).cumsum(0),
    )
    assert budgets.dtype == torch.int64 and budgets.shape[1] == 2
    assert torch.equal(budgets, expected)


@settings(max_examples=30)
@given(batch_runs(), keep_ratios(), seeds())
def test_bounds_totals_and_determinism(rows: list, ratio: float, seed: int) -> None:
    layout = layout_of_runs(rows)
    scores = scores_for(layout, seed)
    budgets = WindowBudgetAllocator()(scores, layout, ratio)
    assert torch.equal(budgets, WindowBudgetAllocator()(scores, layout, ratio))
    sizes = torch.tensor(
        [[int(((layout.window == w) & (layout.modality == int(m))).sum()) for m in (V, A)] for w in range(len(budgets))]
    ).reshape(-1, 2)
    assert bool((budgets <= sizes).all()) and bool((budgets >= 0).all())
    totals = totals_of(layout, {"video": ratio, "audio": ratio})
    row_of_window = [r for r, row in enumerate(rows) for _ in range(layout_of_runs([row]).num_windows)]
    for r, (video, audio) in enumerate(totals):
        mine = [w for w, row in enumerate(row_of_window) if row == r]
        kept = int(budgets[mine].sum())
        if len(mine) <= 1 or not (video and audio):
            assert budgets[mine].sum(0).tolist() == [video, audio]
        else:
            two = sum(1 for w in mine if bool((sizes[w] > 0).all()))
            assert max(video + audio, len(mine)) <= kept <= max(video + audio, len(mine)) + two
            assert bool((budgets[mine] >= sizes[mine].clamp(max=1)).all())


def test_no_window_ids_means_one_window_per_prompt() -> None:
    layout = layout_of_runs([[(T, 2), (V, 10), (A, 4)], [(A, 6)], [(T, 3)]])
    bare = TokenLayout(layout.modality, layout.position, layout.cu_seqlens)
    budgets = WindowBudgetAllocator()(scores_for(layout, 0), bare, {"video": 0.25, "audio": 0.5})
    assert budgets.tolist() == [[2, 2], [0, 3], [0, 0]]


def test_windows_that_lost_all_tokens_get_nothing_and_do_not_count() -> None:
    layout = layout_of_runs([[(V, 6), (A, 6), (T, 1), (V, 6), (A, 6), (T, 1), (V, 6), (A, 6)]])
    keep = layout.window != 1
    rest, scores = layout.select(keep), scores_for(layout, 0)
    budgets = WindowBudgetAllocator()(scores[keep], rest, 0.5)
    assert budgets[1].tolist() == [0, 0]
    without = layout_of_runs([[(V, 6), (A, 6), (T, 1), (T, 1), (V, 6), (A, 6)]])
    assert torch.equal(budgets[[0, 2]], WindowBudgetAllocator()(scores[keep], without, 0.5))


def test_two_modalities_are_totalled_separately() -> None:
    layout = layout_of_runs([[(V, 12), (A, 4)]])
    allocator, scores = WindowBudgetAllocator(), scores_for(layout, 0)
    assert allocator(scores, layout, {"video": 0.5, "audio": 1.0}).tolist() == [[6, 4]]
    assert allocator(scores, layout, 0.0).tolist() == [[1, 1]]
    assert allocator(scores, layout, 1.0).tolist() == [[12, 4]]


@pytest.mark.parametrize("rows", [[], [[]], [[(T, 3)]], [[], [(T, 1)]]])
def test_no_audio_and_no_video(rows: list) -> None:
    layout = layout_of_runs(rows)
    assert WindowBudgetAllocator()(scores_for(layout, 0), layout, 0.5).shape == (0, 2)


@pytest.mark.parametrize(
    ("temperature", "error"),
    [(0.0, ValueError), (-1.0, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("0.1", TypeError)],
)
def test_bad_temperatures_are_named(temperature: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="temperature"):
        WindowBudgetAllocator(temperature)


def test_bad_arguments_are_named() -> None:
    layout = layout_of_runs([[(T, 2), (V, 6)]])
    scores, allocator = scores_for(layout, 0), WindowBudgetAllocator()
    for ratio, error in ((1.5, ValueError), (math.nan, ValueError), ("1", TypeError), ({"audoi": 0.5}, ValueError)):
        with pytest.raises(error, match="keep_ratio"):
            allocator(scores, layout, ratio)
    with pytest.raises(ValueError, match="scores"):
        allocator(scores[:5], layout, 0.5)
    with pytest.raises(TypeError, match="scores"):
        allocator(scores.long(), layout, 0.5)
    with pytest.raises(ValueError, match=r"scores|modality"):
        allocator(scores.to("meta"), layout, 0.5)


def test_a_layout_is_asked_for() -> None:
    with pytest.raises(TypeError, match="layout"):
        WindowBudgetAllocator()(torch.ones(3), None, 0.5)


def test_is_a_frozen_comparable_value() -> None:
    assert WindowBudgetAllocator() == WindowBudgetAllocator(0.1) != WindowBudgetAllocator(0.3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        WindowBudgetAllocator().temperature = 0.3
