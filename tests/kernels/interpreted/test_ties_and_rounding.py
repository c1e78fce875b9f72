"""Ties and halves in the kernels, worked out by hand or by plain Python: a mistake of one token in one direction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from seats_ops import functional as F
from seats_ops.ops.tile_grid import changed
from seats_ops.ops.tile_tables import hold_tiles
from seats_ops.ops.tiles import DEFAULT
from seats_ops.testing import packed_offsets, tied_features
from tests.ops.dpp_oracle import brute_force
from tests.ops.greedy_oracle import brute_force_mask


def equal_windows(windows: int, video: int, audio: int, totals: tuple[int, int]) -> list[list[int]]:
    """Budgets of windows that differ in nothing."""
    size = video + audio
    modality = (torch.arange(windows * size) % size >= video) + 1
    window = torch.arange(windows * size) // size
    given = torch.tensor([totals])
    return F.window_budget(
        torch.ones(len(window)), modality, window, given, num_windows=windows, temperature=0.1, backend="triton"
    ).tolist()


@pytest.mark.parametrize(
    ("windows", "totals", "sums"),
    [
        # round(7/3) = 2 each: one token is missing, the first window gets it.
        (3, (4, 3), [3, 2, 2]),
        # round(8/3) = 3 each: one too many, the first window gives it.
        (3, (4, 4), [2, 3, 3]),
        # round(2.5) = 2 each by the even rule; half up it would be 3 each, and the first window would give one.
        (2, (3, 2), [3, 2]),
        # round(3.5) = 4 each by the even rule; half down it would be 3 each, and the first window would get one.
        (2, (4, 3), [3, 4]),
        # round(4.5) = 4, in four windows: two tokens are missing, the first two windows get them.
        (4, (9, 9), [5, 5, 4, 4]),
    ],
)
def test_ties_of_windows_go_to_the_first(windows: int, totals: tuple[int, int], sums: list[int]) -> None:
    assert [sum(budget) for budget in equal_windows(windows, 6, 6, totals)] == sums


@pytest.mark.parametrize(
    ("total", "split"),
    # A share of one half: 0.5 and 2.5 are rounded down, 1.5 and 3.5 up; a modality that is present keeps one token.
    [(1, [1, 1]), (3, [2, 1]), (5, [2, 3]), (7, [4, 3])],
)
def test_halves_inside_a_window_are_rounded_to_even(total: int, split: list[int]) -> None:
    """Two equal windows share 2 * total tokens, half of them video."""
    assert equal_windows(2, 9, 9, (total, total)) == [split, split]


def test_a_window_without_weight_gives_all_but_one_to_audio() -> None:
    """exp underflows: 0 / (0 + 0 + 1e-12) is 0, not NaN."""
    window = torch.tensor([0] * 6 + [1] * 6)
    scores = torch.where(window == 0, 0.0, -1000.0)
    totals = torch.tensor([[5, 5]])
    budgets = F.window_budget(
        scores, torch.tensor([1, 1, 1, 2, 2, 2] * 2), window, totals, num_windows=2, temperature=0.1, backend="triton"
    )
    assert budgets.tolist() == [[3, 3], [1, 3]]


def test_weights_as_small_as_the_guard_are_split_as_the_formula_says() -> None:
    """A video share of x / (2 x + 1e-12), with x of a few 1e-13: far below one half."""
    window = torch.tensor([0] * 40 + [1] * 40)
    scores = torch.where(window == 0, 0.0, -3.0)
    weight = np.exp(np.float32(-3.0) / np.float32(0.1))
    pull = weight * 30
    totals = torch.tensor([[30, 30]])
    modality = torch.tensor([1, 2] * 40)
    budgets = F.window_budget(scores, modality, window, totals, num_windows=2, temperature=0.1, backend="triton")
    video = round(20 * float(pull / (2 * pull + 1e-12)))
    assert 0 < video < 10
    assert budgets.tolist() == [[20, 20], [video, 20 - video]]


@pytest.mark.parametrize("kind", [1, 2], ids=["video", "audio"])
def test_equal_scores_of_one_modality_go_to_the_first_tokens(kind: int) -> None:
    """Ties run out inside a block of 64 tokens that holds two windows, and is not the first one."""
    window = torch.arange(300) // 100
    totals = torch.tensor([[110, 110]])
    budgets = F.window_budget(
        torch.ones(300), torch.full((300,), kind), window, totals, num_windows=3, temperature=0.1, backend="triton"
    )
    assert budgets[:, kind - 1].tolist() == [100, 10, 0]
    assert budgets[:, 2 - kind].tolist() == [0, 0, 0]


def test_equal_scores_of_a_segment_go_to_the_first_tokens() -> None:
    """Over several blocks of tokens, better ones last."""
    scores = torch.ones(3000)
    scores[2990:] = 2.0
    keep = F.segment_topk(scores, torch.zeros(3000, dtype=torch.int64), torch.tensor([1500]), backend="triton")
    assert keep.nonzero().flatten().tolist() == [*range(1490), *range(2990, 3000)]


@pytest.mark.parametrize("matrix", [4096, 16], ids=["matrix", "too long for a matrix"])
@pytest.mark.parametrize(
    ("kinds", "some_weights", "first"),
    [
        (1, None, "spread"),
        (3, [1.0, 2.0], "spread"),
        (3, [-1.0, -2.0], "spread"),
        (3, [-1.0, 2.0], "weight"),
    ],
    ids=str,
)
def test_ties_of_a_greedy_selection(
    matrix: int, some_weights: list[float] | None, kinds: int, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact duplicates in several blocks of tokens, and parts of several blocks."""
    monkeypatch.setattr("seats_ops.ops.max_min_diversity.triton.MAX_MATRIX", matrix)
    lengths, counts = [70, 33, 1], [6, 5, 1]
    features = tied_features(sum(lengths), seed=kinds, kinds=kinds)
    weights = None if some_weights is None else torch.tensor(some_weights).repeat(len(features) // 2)
    offsets = packed_offsets(lengths)
    expected, _ = brute_force_mask(features, offsets, counts, weights, np.float32, first)
    few_parts = {**DEFAULT, "step": changed(DEFAULT["step"], {"PARTS": 2})}
    with hold_tiles(few_parts):
        keep = F.max_min_diversity(
            features, offsets, torch.tensor(counts), weights=weights, first=first, backend="triton"
        )
    assert keep.nonzero().flatten().tolist() == expected.nonzero().flatten().tolist()


@pytest.mark.parametrize(("kinds", "weighted"), [(1, False), (3, True), (9, False)])
def test_ties_of_a_determinantal_selection(weighted: bool, kinds: int) -> None:
    """Exact duplicates in several blocks of tokens, and parts of several blocks; variances are 0 or 1."""
    lengths, counts = [70, 33, 1], [6, 5, 1]
    features = tied_features(sum(lengths), seed=kinds, kinds=kinds)
    quality = None if not weighted else torch.tensor([1.0, 2.0]).repeat(len(features) // 2)
    few_parts = {**DEFAULT, "dpp_step": changed(DEFAULT["dpp_step"], {"PARTS": 2})}
    with hold_tiles(few_parts):
        keep = F.greedy_dpp(features, packed_offsets(lengths), torch.tensor(counts), quality=quality, backend="triton")
    expected, start = [], 0
    for length, count in zip(lengths, counts, strict=True):
        part = slice(start, start + length)
        picks, _ = brute_force(features[part], count, None if quality is None else quality[part])
        expected += sorted(start + pick for pick in picks)
        start += length
    assert keep.nonzero().flatten().tolist() == expected


def largest_total(totals: list[int]) -> Tensor:
    return F.window_budget(
        torch.rand(24, generator=torch.Generator().manual_seed(0)),
        torch.tensor([1, 2] * 12),
        torch.arange(24) // 8,
        torch.tensor([totals]),
        num_windows=3,
        temperature=0.1,
        backend="triton",
    )


@pytest.mark.parametrize("large", [2**29, 2**30, 2**31 - 1, 2**31, 2**32 + 1, 2**40, 2**63 - 1])
def test_totals_beyond_every_number_of_tokens_keep_all(large: int) -> None:
    """Also where their sum is beyond the dtype, and where one of them says nothing."""
    for totals in ([large, large], [large, 0], [0, large]):
        assert largest_total(totals).tolist() == [[4, 4], [4, 4], [4, 4]]
    one_window = F.window_budget(
        torch.ones(4), torch.tensor([1, 1, 2, 2]), torch.zeros(4).long(), torch.tensor([[large, 1]]), num_windows=1,
        temperature=0.1, backend="triton",
    )  # fmt: skip
    assert one_window.tolist() == [[2, 1]]
