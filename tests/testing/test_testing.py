"""The testing tools themselves: a tool that accepts everything would make every test above it worthless."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

from seats_ops import Modality
from seats_ops.testing import (
    assert_same_selection,
    certify_greedy,
    clustered_features,
    layout_of_runs,
    near_constant_saliency,
    packed_offsets,
    tied_features,
)
from seats_ops.testing.golden import golden_cases
from seats_ops.testing.strategies import batch_runs, prompt_runs, seeds, segment_lengths

V, A, T, I = Modality.VIDEO, Modality.AUDIO, Modality.TEXT, Modality.IMAGE  # noqa: E741 - letters draw the prompts


def mask(bits: str) -> torch.Tensor:
    return torch.tensor([bit == "1" for bit in bits], dtype=torch.bool)


def test_same_selection_accepts_equal_masks_and_excused_near_ties() -> None:
    assert_same_selection(mask("0110"), mask("0110"))
    assert_same_selection(mask("011010"), mask("101010"), packed_offsets([4, 2]), gap=[9e-6, 1.0])
    assert_same_selection(mask("01"), mask("10"), gap=[0.05], near_tie=0.1)
    assert_same_selection(mask(""), mask(""), packed_offsets([]))


@pytest.mark.parametrize(
    ("actual", "expected", "gap", "message"),
    [
        ("011010", "101010", None, "segment 0 of 4 tokens differs: 1 tokens missing"),
        ("011010", "101010", [1e-5, 0.0], "segment 0 .* no near-tie"),
        ("011010", "011001", [0.0, 1.0], "segment 1"),
        ("011011", "011010", [0.0, 0.0], "segment 1: 2 tokens kept, expected 1"),
        ("01101", "011010", None, "5 tokens"),
    ],
)
def test_same_selection_refuses(actual: str, expected: str, gap: list[float] | None, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_same_selection(mask(actual), mask(expected), packed_offsets([4, 2]), gap=gap)


def test_same_selection_wants_bool_masks_and_a_gap_per_segment() -> None:
    with pytest.raises(AssertionError, match="actual"):
        assert_same_selection(torch.tensor([0, 1]), mask("01"))
    with pytest.raises(ValueError, match="gap"):
        assert_same_selection(mask("01"), mask("01"), gap=[0.0, 0.0])


# On a circle, in degrees: 0 and 10 are close together, 100 and 190 are far off.
CIRCLE = torch.tensor([0.0, 10.0, 100.0, 190.0]).deg2rad()
POINTS = torch.stack([CIRCLE.cos(), CIRCLE.sin()], dim=1)


@pytest.mark.parametrize(
    ("kept", "accepted"),
    # By hand: 190 and 100 are both 90 degrees from their nearest neighbour, an exact tie; from 100 the farthest is 190
    # or 10 (both 90; 0 is 100 off), so 0 follows 100; 190 is farthest (180) from 10.
    [("0010", True), ("0001", True), ("1000", False), ("0100", False), ("1010", True), ("0101", True), ("1100", False)],
)
def test_certificate_on_points_of_a_circle(kept: str, accepted: bool) -> None:
    count = torch.tensor([kept.count("1")])
    certificate = certify_greedy(POINTS, packed_offsets([4]), count, mask(kept))
    assert bool(certificate) is accepted
    assert bool(certificate.reason) is not accepted


def test_certificate_reports_counts_weights_and_order() -> None:
    offsets = packed_offsets([4])
    assert "2 tokens kept, expected 3" in certify_greedy(POINTS, offsets, torch.tensor([3]), mask("1010")).reason
    heavy = torch.tensor([1.0, 100.0, 1.0, 1.0])
    certificate = certify_greedy(POINTS, offsets, torch.tensor([2]), mask("0101"), weights=heavy)
    assert certificate.order == ((1, 3),) and certificate.worst_gap == (0.0,)
    assert not certify_greedy(POINTS, offsets, torch.tensor([1]), mask("0010"), weights=heavy)
    assert certify_greedy(POINTS, offsets, torch.tensor([9]), mask("1111"))
    with pytest.raises(ValueError, match="finite"):
        certify_greedy(POINTS * float("nan"), offsets, torch.tensor([1]), mask("0010"))


@pytest.mark.parametrize(
    ("weights", "kept", "accepted"),
    # By hand: the first of the largest weights, and no other that is as large, or larger by less than a rounding.
    [
        ([1.0, 1.0, 1.0, 1.0], "1000", True),
        ([1.0, 1.0, 1.0, 1.0], "0010", False),
        ([1.0, 1.0 + 1e-7, 1.0, 1.0], "0100", True),
        ([1.0, 1.0 + 1e-7, 1.0, 1.0], "1000", False),
        # All negative: the second pick is the nearest one.
        ([-1.0, -2.0, -2.0, -2.0], "1100", True),
        ([-1.0, -2.0, -2.0, -2.0], "1001", False),
    ],
)
def test_certificate_of_a_first_pick_by_weight(weights: list[float], kept: str, accepted: bool) -> None:
    arguments = POINTS, packed_offsets([4]), torch.tensor([kept.count("1")]), mask(kept)
    assert bool(certify_greedy(*arguments, weights=torch.tensor(weights), first="weight")) is accepted


@pytest.mark.parametrize("first", ["weight", "nearest"])
def test_certificate_names_a_first_that_it_cannot_judge(first: str) -> None:
    with pytest.raises(ValueError, match=f"first: expected one of .* got '{first}'"):
        certify_greedy(POINTS, packed_offsets([4]), torch.tensor([1]), mask("1000"), first=first)


def test_certificate_stays_quick_on_many_exact_duplicates() -> None:
    features, kept = torch.ones(60, 4), torch.arange(60) % 3 == 0
    assert certify_greedy(features, packed_offsets([60]), torch.tensor([20]), kept)
    features[0] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    without_the_odd_one = kept.clone()
    without_the_odd_one[[0, 1]] = torch.tensor([False, True])
    assert not certify_greedy(features, packed_offsets([60]), torch.tensor([20]), without_the_odd_one)


def test_data_depend_on_their_seed_only() -> None:
    for make in (lambda s: clustered_features(30, 8, seed=s), lambda s: tied_features(30, seed=s)):
        assert torch.equal(make(1), make(1)) and not torch.equal(make(1), make(2))
    saliency = near_constant_saliency(1000, seed=0, spread=0.05)
    assert float((saliency - 1).abs().max()) <= 0.05
    directions = tied_features(50, seed=3, kinds=9) / 4
    cosines = directions @ directions.T
    assert set(cosines.flatten().tolist()) <= {-1.0, 0.0, 1.0}


def test_layout_of_runs_by_hand() -> None:
    layout = layout_of_runs([[(T, 1), (V, 3), (A, 1), (V, 2)], [], [(A, 2), (I, 1), (A, 1)]], block_length=2)
    assert layout.modality.tolist() == [0, 1, 1, 1, 2, 1, 1, 2, 2, 3, 2]
    assert layout.position.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3]
    assert layout.cu_seqlens.tolist() == [0, 7, 7, 11]
    assert layout.window.tolist() == [-1, 0, 0, 0, 0, 1, 1, 2, 2, -1, 3]
    assert layout.block.tolist() == [-1, 0, 0, 1, 2, 1, 3, 4, 4, -1, 5]
    assert layout.blocks == ((1, 2), (1, 2), (2, 1), (1, 1), (2, 2), (2, 1))
    assert layout.num_windows == 4


@settings(max_examples=30)
@given(batch_runs(), prompt_runs(), segment_lengths(), seeds())
def test_strategies_draw_small_plain_values(rows: list, row: list, lengths: list[int], seed: int) -> None:
    assert rows and all(n >= 1 for prompt in (*rows, row) for _, n in prompt)
    assert all(a[0] is not b[0] for prompt in rows for a, b in itertools.pairwise(prompt))
    assert packed_offsets(lengths).tolist()[-1] == sum(lengths) and seed >= 0


def test_golden_cases_refuse_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="kind"):
        golden_cases(Path(__file__).parents[1] / "golden", "no_such_kind")
