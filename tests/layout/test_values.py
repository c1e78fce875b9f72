"""A TokenLayout whose values contradict each other is refused where looking costs nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seats_ops import TokenLayout
from seats_ops.layout import MediaShape, Modality

GOOD: dict[str, Any] = {
    "modality": torch.tensor([0, 1, 1, 2, 0, 1]),
    "position": torch.tensor([0, 1, 2, 3, 0, 1]),
    "cu_seqlens": torch.tensor([0, 4, 6]),
    "block": torch.tensor([-1, 0, 0, 1, -1, 2]),
    "window": torch.tensor([-1, 0, 0, 0, -1, 1]),
    "blocks": ((1, 2), (2, 1), (1, 1)),
    "num_windows": 2,
}

GRID = torch.tensor([[-1, -1, -1, -1], [0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [-1, -1, -1, -1], [2, 0, 0, 0]])
SHAPES = (MediaShape(Modality.VIDEO, 2), MediaShape(Modality.AUDIO, 1), MediaShape(Modality.VIDEO, 1))


@pytest.mark.parametrize(
    ("changed", "error", "named"),
    [
        ({"modality": torch.tensor([0, 1, 1, 7, 0, 1])}, ValueError, "modality"),
        ({"modality": torch.tensor([0, 1, 1, -1, 0, 1])}, ValueError, "modality"),
        ({"window": torch.tensor([-1, 0, 0, 0, -1, 0])}, ValueError, "window"),
        ({"window": torch.tensor([-1, 1, 1, 1, -1, 0])}, ValueError, "window"),
        ({"window": torch.tensor([-1, 0, 0, 0, -7, 1])}, ValueError, "window"),
        ({"block": torch.tensor([-1, 0, 0, 1, -1, 0])}, ValueError, "block"),
        ({"block": torch.tensor([-1, 0, 0, 0, -1, 2])}, ValueError, "block"),
        ({"block": torch.tensor([-2, 0, 0, 1, -1, 2])}, ValueError, "block"),
        ({"blocks": ((1, 2), (2, 1))}, ValueError, "blocks"),
        ({"blocks": ((1, 3), (2, 1), (1, 1))}, ValueError, "blocks"),
        ({"num_windows": 1}, ValueError, "num_windows"),
        ({"num_windows": "2"}, TypeError, "num_windows"),
        ({"position": [0, 1, 2, 3, 0, 1]}, TypeError, "position"),
        ({"grid": GRID[:5], "shapes": SHAPES}, ValueError, "grid"),
        ({"grid": GRID.float(), "shapes": SHAPES}, TypeError, "grid"),
        ({"grid": GRID}, ValueError, "shapes"),
        ({"shapes": SHAPES}, ValueError, "shapes"),
        ({"grid": GRID, "shapes": SHAPES[:2]}, ValueError, "grid"),
        ({"grid": GRID, "shapes": SHAPES[:1] + SHAPES}, ValueError, "grid"),
        ({"grid": GRID.abs(), "shapes": SHAPES}, ValueError, "grid"),
        ({"grid": GRID * 2, "shapes": SHAPES * 2}, ValueError, "grid"),
        ({"seconds": torch.arange(6)}, TypeError, "seconds"),
        ({"seconds": torch.ones(5)}, ValueError, "seconds"),
        ({"question": torch.ones(6)}, TypeError, "question"),
    ],
)
def test_contradictions_are_named(changed: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=f"^{named}: expected"):
        TokenLayout(**(GOOD | changed))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.uint16, torch.uint32])
def test_any_integer_dtype_makes_a_layout(dtype: torch.dtype) -> None:
    narrow = {name: GOOD[name].to(dtype) for name in ("modality", "position", "cu_seqlens")}
    layout = TokenLayout(**(GOOD | narrow))
    kept = layout.select(torch.tensor([True, False, True, True, True, False]))
    assert kept.position.tolist() == [0, 2, 3, 0]
    assert kept.cu_seqlens.tolist() == [0, 3, 4]


@pytest.mark.parametrize("name", ["window", "block"])
def test_ids_that_nothing_can_be_held_for(name: str) -> None:
    ids = torch.tensor([-1, 0, 10**12])
    with pytest.raises(ValueError, match=f"{name}: expected ids from -1 to .* got -1 to 1000000000000"):
        TokenLayout(torch.tensor([0, 1, 1]), torch.arange(3), torch.tensor([0, 3]), **{name: ids})


def test_facts_about_media_are_compared() -> None:
    seconds = torch.tensor([torch.nan, 0.0, 1.0, 0.0, torch.nan, 0.0])
    one, same, other = (
        TokenLayout(**GOOD, grid=GRID.clone(), shapes=SHAPES, seconds=x.clone(), question=GOOD["modality"] == 0)
        for x in (seconds, seconds, seconds.nan_to_num())
    )
    assert one == same and one != other
