"""A stage that keeps, merges and orders what was recorded, against the stages that were recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from seats_ops import Merge, Modality, PruneTrace, RecordedStage, Schedule, Selection, TokenLayout
from seats_ops.integrations import Pruning
from seats_ops.testing import layout_of_runs

VIDEO, TEXT = Modality.VIDEO, Modality.TEXT
LAYOUT = layout_of_runs([[(TEXT, 2), (VIDEO, 7), (TEXT, 2)], [(VIDEO, 5), (TEXT, 1)]])


@dataclass(frozen=True)
class Made:
    """Answers as it is told."""

    answer: Callable[[Tensor, TokenLayout], Any]
    merges: bool = False
    kv_rule: str = "sliced"
    inputs: ClassVar[tuple[str, ...]] = ("features",)

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Any:
        return self.answer(features, layout)

    def to_dict(self) -> dict[str, Any]:
        return {}


def mask(layout: TokenLayout) -> Tensor:
    return layout.is_modality(Modality.TEXT) | (layout.position % 2 == 0)


def merged(features: Tensor, layout: TokenLayout) -> Selection:
    """Into the first token kept of a prompt goes all media, by coefficients that differ and depend on features."""
    keep = mask(layout)
    rows, starts = layout.rows(), layout.cu_seqlens[:-1].tolist()
    first = torch.tensor([start + int(keep[start:].nonzero()[0]) for start in starts])
    media = (~layout.is_modality(Modality.TEXT)).nonzero().squeeze(1)
    # From the last one on: the order of a sum decides on its last bits.
    media = media.flip(0)
    merge = Merge(first[rows[media]], media, features[media, 0].abs() / 3)
    return Selection(keep, merge=merge, multiplicity=layout.position.float())


def backwards(features: Tensor, layout: TokenLayout) -> Selection:
    keep = torch.ones(len(layout), dtype=torch.bool)
    rows = torch.arange(len(layout)).split(layout.cu_seqlens.diff().tolist())
    order = torch.cat([part for row in rows for part in (row[:-1].flip(0), row[-1:])])
    return Selection(keep, order=order)


def run(schedule: Schedule, seed: int = 0) -> tuple[list[Tensor], PruneTrace]:
    hidden = torch.randn(len(LAYOUT), 4, generator=torch.Generator().manual_seed(seed))
    with Pruning(schedule, LAYOUT) as pruning:
        (hidden,) = pruning.before_llm(hidden)
        found = [hidden]
        for layer in (1, 2):
            (hidden,) = pruning.after_layer(layer, hidden)
            found.append(hidden)
    return found, pruning.trace


SCHEDULES = {
    "merge": Schedule(Made(merged, merges=True)),
    "merges": Schedule(Made(merged, merges=True), {2: Made(merged, merges=True)}),
    "order": Schedule(Made(backwards), {1: Made(merged, merges=True), 2: Made(backwards)}),
    "keys": Schedule((), {1: Made(lambda _, x: mask(x), kv_rule="long")}),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_replay_gives_the_same_rows(name: str) -> None:
    expected, trace = run(SCHEDULES[name])
    replay = PruneTrace.from_json(trace.to_json()).as_schedule()
    found, again = run(Schedule.from_dict(replay.to_dict()))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
    for ours_stage, stage in zip(again.stages, trace.stages, strict=True):
        assert (ours_stage.positions, ours_stage.kv_rule) == (stage.positions, stage.kv_rule)
        assert (ours_stage.merge is None) == (stage.merge is None)
        assert (ours_stage.order is None) == (stage.order is None)


def test_records_are_in_ascending_columns_whatever_the_order() -> None:
    _, trace = run(SCHEDULES["order"])
    stage = trace.stages[1]
    assert stage.multiplicity is not None
    # Every token was said to stand for as many as its column.
    assert stage.multiplicity.tolist() == torch.cat(stage.kept_indices).tolist()
    assert trace.stages[0].order is not None and trace.stages[0].order[1].tolist() == [4, 3, 2, 1, 0, 5]
    assert stage.order is None and trace.stages[2].order is not None


def test_without_a_merge_it_asks_for_nothing() -> None:
    stage = RecordedStage(((1, 3), (0,)), merge=((), ()))
    assert (
        stage.inputs == ()
        and not stage.merges
        and RecordedStage(((1, 3),)).to_dict()
        == {
            "type": "RecordedStage",
            "kept": [[1, 3]],
        }
    )


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"merge": ()}, r"merge: expected an entry for each of 1 prompt\(s\), got 0"),
        ({"merge": (((2, 1, 0.5),),)}, r"merge\[0\]: expected \(kept column, column >= 0, finite coefficient\), got"),
        ({"merge": (((1, -1, 0.5),),)}, r"merge\[0\]: expected \(kept column"),
        ({"merge": (((1, 0, float("nan")),),)}, r"merge\[0\]: expected \(kept column"),
        ({"order": ((3,),)}, r"order\[0\]: expected every column of kept once"),
        ({"positions": "new"}, r"positions: expected one of \('kept', 'renumbered'\), got 'new'"),
        ({"kv_rule": "short"}, "kv_rule: expected one of"),
    ],
)
def test_settings_that_cannot_be_are_named(entries: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RecordedStage(((1, 3),), **entries)


def test_a_source_that_is_not_there_is_missed() -> None:
    layout = layout_of_runs([[(Modality.VIDEO, 3), (Modality.TEXT, 1)]])
    stage = RecordedStage(((1, 3),), merge=(((1, 7, 0.5), (1, 0, 0.5)),))
    with pytest.raises(ValueError, match="layout: expected all recorded tokens to be there, got 1 too few"):
        stage(torch.zeros(4, 2), layout)
