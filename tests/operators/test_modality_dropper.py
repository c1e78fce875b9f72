"""ModalityDropper removes exactly what it names."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seats_ops import Modality, ModalityDropper
from seats_ops.testing import layout_of_runs
from seats_ops.testing.strategies import batch_runs

NAMES = {"video": Modality.VIDEO, "audio": Modality.AUDIO, "image": Modality.IMAGE}


@settings(max_examples=40)
@given(batch_runs(), st.sets(st.sampled_from(sorted(NAMES)), min_size=1))
def test_removes_exactly_the_named_modalities(rows: list, names: set[str]) -> None:
    layout = layout_of_runs(rows)
    before = layout.modality.clone()

    keep = ModalityDropper(tuple(sorted(names)))(layout)

    dropped = {int(NAMES[name]) for name in names}
    assert keep.dtype == torch.bool
    assert keep.tolist() == [m not in dropped for m in layout.modality.tolist()]
    assert torch.equal(layout.modality, before)


@settings(max_examples=30)
@given(batch_runs())
def test_order_and_positions_stay_and_a_second_drop_finds_nothing(rows: list) -> None:
    layout, dropper = layout_of_runs(rows), ModalityDropper()
    keep = dropper(layout)
    rest = layout.select(keep)
    assert rest.position.tolist() == [p for p, k in zip(layout.position.tolist(), keep.tolist(), strict=True) if k]
    assert set(rest.modality.tolist()) <= {int(Modality.TEXT), int(Modality.IMAGE)}
    assert bool(dropper(rest).all())


def test_default_is_video_and_audio() -> None:
    assert ModalityDropper() == ModalityDropper(("video", "audio"))
    assert ModalityDropper() != ModalityDropper(("video",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModalityDropper().modalities = ("video",)


def test_a_list_is_as_good_as_a_tuple() -> None:
    assert ModalityDropper(["video", "audio"]) == ModalityDropper(("video", "audio"))


@pytest.mark.parametrize(
    ("modalities", "error"),
    [(("video", "smell"), ValueError), (("text",), ValueError), ((1,), (TypeError, ValueError)), (3, TypeError)],
)
def test_bad_modalities_are_named(modalities: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="modalities"):
        ModalityDropper(modalities)


def test_a_layout_is_asked_for() -> None:
    with pytest.raises(TypeError, match="layout"):
        ModalityDropper()(torch.ones(3))
