"""window_budget where a share lies on a half, where nothing pulls at a window, where totals have no limit: by hand."""

from __future__ import annotations

import math

import pytest
import torch

from seats_ops import functional as F

EQUAL = torch.full((64,), 0.25)
MODALITY = torch.tensor([1] * 32 + [2] * 32)
WINDOW = torch.arange(64) // 16 % 2


def budgets(totals: tuple[int, int], scores: torch.Tensor = EQUAL, temperature: float = 0.1) -> list[list[int]]:
    """Of two windows, each with 16 tokens of video and 16 of audio."""
    result = F.window_budget(scores, MODALITY, WINDOW, torch.tensor([totals]), num_windows=2, temperature=temperature)
    return result.tolist()


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        # 2.5 each is 2 and 2, the missing token goes to the first window; 3 * 3/5 = 1.8 and 2 * 3/5 = 1.2.
        ((3, 2), [[2, 1], [1, 1]]),
        # 3.5 each is 4 and 4, the surplus is taken from the first window.
        ((4, 3), [[2, 1], [2, 2]]),
        # 4.5 each is 4 and 4.
        ((5, 4), [[3, 2], [2, 2]]),
        # 5 each, of which 2.5 is video: 2. 7 each, of which 3.5 is video: 4.
        ((5, 5), [[2, 3], [2, 3]]),
        ((7, 7), [[4, 3], [4, 3]]),
        # 9 each, of which 4.5 is video: 4.
        ((9, 9), [[4, 5], [4, 5]]),
    ],
)
def test_halves_go_to_the_even_number(totals: tuple[int, int], expected: list[list[int]]) -> None:
    assert budgets(totals) == expected


def test_a_window_that_nobody_pulls_at() -> None:
    """All of the softmax is in the first window: the second divides 0 by 1e-12, which leaves it to audio."""
    scores = torch.where(WINDOW == 0, 100.0, 0.0)
    # 32 tokens fill the first window, 8 are left.
    assert budgets((20, 20), scores) == [[16, 16], [1, 7]]


def test_a_pull_as_small_as_what_keeps_it_from_zero() -> None:
    """A weight of 2.5e-14 pulls with 5e-13 at either: 0.5 / (0.5 + 0.5 + 1) of 8 tokens is 2, where half would be 4."""
    scores = torch.where(WINDOW == 0, math.log(4e13), 0.0)
    assert budgets((20, 20), scores, temperature=1.0) == [[16, 16], [2, 6]]


@pytest.mark.parametrize(
    "totals", [(64, 0), (0, 64), (2**31 - 1, 2**31 - 1), (2**40, 1), (2**63 - 1, 2**63 - 1), (1, 2**63 - 1)]
)
def test_totals_above_the_number_of_tokens_keep_everything(totals: tuple[int, int]) -> None:
    assert budgets(totals) == [[16, 16], [16, 16]]
    one_modality = F.window_budget(
        EQUAL[:32], MODALITY[:32], WINDOW[:32], torch.tensor([[totals[0], 0]]), num_windows=2, temperature=0.1
    )
    assert one_modality.sum() == min(totals[0], 32)


@pytest.mark.parametrize("temperature", [1e-39, 1e-60, 1e39, 1e300])
def test_a_temperature_that_float32_does_not_hold(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature: expected a finite number > 0 in float32"):
        budgets((3, 2), temperature=temperature)
