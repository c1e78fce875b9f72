"""TokenLayout: selection carries everything along, and a layout that does not fit together is refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seats_ops import Modality, TokenLayout
from seats_ops.testing import layout_of_runs
from seats_ops.testing.strategies import batch_runs, seeds

FIELDS = ("modality", "position", "block", "window")


def random_mask(total: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(total, generator=random) < torch.rand((), generator=random)


def test_modality_numbers() -> None:
    assert [(m.name, int(m)) for m in Modality] == [("TEXT", 0), ("VIDEO", 1), ("AUDIO", 2), ("IMAGE", 3)]


@settings(max_examples=50)
@given(batch_runs(), seeds(), st.booleans())
def test_select_keeps_ids_and_positions(rows: list, seed: int, told: bool) -> None:
    layout = layout_of_runs(rows)
    keep = random_mask(len(layout.modality), seed)
    before = {name: getattr(layout, name).clone() for name in (*FIELDS, "cu_seqlens")}

    rest = layout.select(keep, num_kept=int(keep.sum()) if told else None)

    kept = [i for i, k in enumerate(keep.tolist()) if k]
    for name in FIELDS:
        assert getattr(rest, name).tolist() == [getattr(layout, name).tolist()[i] for i in kept]
    bounds = layout.cu_seqlens.tolist()
    assert rest.cu_seqlens.tolist() == [sum(1 for i in kept if i < bound) for bound in bounds]
    assert rest.cu_seqlens.dtype == layout.cu_seqlens.dtype
    assert all(torch.equal(getattr(layout, name), value) for name, value in before.items())


@settings(max_examples=30)
@given(batch_runs(), seeds())
def test_select_twice_is_select_once(rows: list, seed: int) -> None:
    layout = layout_of_runs(rows)
    first = random_mask(len(layout.modality), seed)
    second = random_mask(int(first.sum()), seed + 1)
    both = first.clone()
    both[first] = second
    twice, once = layout.select(first).select(second), layout.select(both)
    for name in (*FIELDS, "cu_seqlens"):
        assert torch.equal(getattr(twice, name), getattr(once, name))


def test_select_of_everything_and_nothing() -> None:
    layout = layout_of_runs([[(Modality.TEXT, 2), (Modality.VIDEO, 3)], [], [(Modality.AUDIO, 4)]])
    everything = layout.select(torch.ones(9, dtype=torch.bool))
    assert all(torch.equal(getattr(everything, name), getattr(layout, name)) for name in (*FIELDS, "cu_seqlens"))
    nothing = layout.select(torch.zeros(9, dtype=torch.bool))
    assert nothing.modality.shape == (0,) and nothing.cu_seqlens.tolist() == [0, 0, 0, 0]


def test_select_without_blocks_and_windows() -> None:
    layout = TokenLayout(torch.tensor([0, 1, 2]), torch.arange(3), torch.tensor([0, 3]))
    rest = layout.select(torch.tensor([True, False, True]))
    assert rest.block is None and rest.window is None and rest.position.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("keep_mask", "error"),
    [
        (torch.ones(4, dtype=torch.bool), ValueError),
        (torch.ones(3, 1, dtype=torch.bool), ValueError),
        (torch.ones(3), (TypeError, ValueError)),
        ([True, True, True], (TypeError, ValueError)),
    ],
)
def test_bad_masks_are_named(keep_mask: object, error: type[Exception]) -> None:
    layout = TokenLayout(torch.tensor([0, 1, 2]), torch.arange(3), torch.tensor([0, 3]))
    with pytest.raises(error, match="keep_mask"):
        layout.select(keep_mask)
    with pytest.raises(ValueError, match="num_kept"):
        layout.select(torch.ones(3, dtype=torch.bool), num_kept=2)


VALID = {
    "modality": torch.tensor([0, 1, 1, 2]),
    "position": torch.arange(4),
    "cu_seqlens": torch.tensor([0, 4], dtype=torch.int32),
    "block": torch.tensor([-1, 0, 0, 1]),
    "window": torch.tensor([-1, 0, 0, 0]),
}


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("modality", torch.zeros(4), TypeError),
        ("modality", torch.zeros(2, 2, dtype=torch.int64), ValueError),
        ("modality", [0, 1, 1, 2], TypeError),
        ("position", torch.arange(3), ValueError),
        ("position", torch.arange(4.0), TypeError),
        ("position", torch.arange(4, device="meta"), ValueError),
        ("cu_seqlens", torch.tensor([0, 3]), ValueError),
        ("cu_seqlens", torch.tensor([1, 4]), ValueError),
        ("cu_seqlens", torch.tensor([0, 3, 2, 4]), ValueError),
        ("cu_seqlens", torch.tensor([], dtype=torch.int32), ValueError),
        ("cu_seqlens", torch.tensor([0.0, 4.0]), TypeError),
        ("block", torch.zeros(5, dtype=torch.int64), ValueError),
        ("block", torch.zeros(4), TypeError),
        ("window", torch.zeros(3, dtype=torch.int64), ValueError),
        ("window", torch.zeros(4, dtype=torch.bool), TypeError),
        ("window", torch.zeros(4, dtype=torch.int64, device="meta"), ValueError),
    ],
)
def test_bad_fields_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        TokenLayout(**{**VALID, name: value})


def test_is_frozen_and_takes_the_first_five_by_position() -> None:
    layout = TokenLayout(*VALID.values())
    assert torch.equal(layout.window, VALID["window"]) and torch.equal(layout.block, VALID["block"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        layout.block = None
