"""Windows by the clock against exact fractions of a second."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from seats_ops import Modality
from seats_ops.integrations.huggingface.prompt.time_windows import time_windows

# As a float; what is meant.
RATES = [(13.0, Fraction(13)), (12.5, Fraction(25, 2)), (25.0, Fraction(25)), (7.0, Fraction(7)), (49.0, Fraction(49))]
SECONDS = [(0.1, Fraction(1, 10)), (1 / 3, Fraction(1, 3)), (2 / 3, Fraction(2, 3)), (0.7, Fraction(7, 10))]
SECONDS += [(0.08, Fraction(2, 25)), (1 / 49, Fraction(1, 49)), (2.0, Fraction(2)), (1.001, Fraction(1001, 1000))]


def windows(modality: list[Modality], **options: object) -> list[int]:
    arguments = {"video_tokens": [], "seconds_per_grid": [], "audio": [], "audio_rate": 25.0} | options
    kinds = torch.tensor([int(kind) for kind in modality])
    found: Tensor = time_windows(kinds, torch.zeros_like(kinds), **arguments)
    return found.tolist()


@pytest.mark.parametrize(("rate", "exact"), RATES, ids=[str(rate) for rate, _ in RATES])
def test_sound(rate: float, exact: Fraction) -> None:
    """A token at an even second starts a window, where 98 times 1/49 is below 2 as a float."""
    count = 2000
    expected = [int(token / exact / 2) for token in range(count)]
    assert windows([Modality.AUDIO] * count, audio=[count], audio_rate=rate) == expected


@pytest.mark.parametrize(("seconds", "exact"), SECONDS, ids=[str(exact) for _, exact in SECONDS])
def test_pictures(seconds: float, exact: Fraction) -> None:
    """All tokens of a temporal grid have the time of the grid."""
    grids, per_grid = 300, 3
    slices = [int(grid * exact / 2) for grid in range(grids)]
    numbers = {number: i for i, number in enumerate(sorted(set(slices)))}
    found = windows(
        [Modality.VIDEO] * grids * per_grid, video_tokens=[(grids * per_grid, per_grid)], seconds_per_grid=[seconds]
    )
    assert found == [numbers[number] for number in slices for _ in range(per_grid)]
