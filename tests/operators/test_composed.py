"""Stages made of stages, and that the pieces keep to the protocol."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from seats_ops import (
    Both,
    DiversitySelector,
    Merge,
    Modality,
    PerModality,
    Ratio,
    Schedule,
    Select,
    Selection,
    TokenLayout,
)
from seats_ops.operators.scorers import Relevance, Saliency
from seats_ops.operators.selectors import MaxMin, RandomK, Strided, TopK
from seats_ops.operators.stage_call import call_stage
from seats_ops.operators.stored import Stored
from seats_ops.testing import check_stage, layout_of_runs
from seats_ops.testing.stage_inputs import tensors_for

VIDEO, AUDIO, TEXT = Modality.VIDEO, Modality.AUDIO, Modality.TEXT
SALIENT = Select(Saliency(), Ratio(0.2))
EVEN = Select(None, Ratio(0.3), Strided())


@dataclass(frozen=True)
class ToTheFirst(Stored):
    """Keeps the first token of every prompt's video, which becomes the mean of all of it."""

    inputs: ClassVar[tuple[str, ...]] = ("features",)
    merges: ClassVar[bool] = True
    modality: str = "video"

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Selection:
        mine = layout.is_modality(Modality[self.modality.upper()])
        keep_mask, triples = ~mine, []
        for row in range(layout.num_rows):
            tokens = (mine & (layout.rows() == row)).nonzero().squeeze(1)
            if len(tokens):
                keep_mask = keep_mask.index_fill(0, tokens[:1], True)
                triples += [(tokens[0], token, 1 / len(tokens)) for token in tokens]
        parts = [torch.tensor([triple[i] for triple in triples], device=features.device) for i in range(3)]
        merge = Merge(parts[0].long(), parts[1].long(), parts[2].float())
        return Selection(keep_mask, merge=merge)


@dataclass(frozen=True)
class AsManyAsKept(Stored):
    """Keeps the first tokens of the video, as many as an earlier part keeps of the audio."""

    inputs: ClassVar[tuple[str, ...]] = ("kept",)

    def __call__(self, kept: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        keep_mask = ~layout.is_modality(VIDEO)
        for row in range(layout.num_rows):
            here = layout.rows() == row
            number = int((kept & here & layout.is_modality(AUDIO)).sum())
            keep_mask[(layout.is_modality(VIDEO) & here).nonzero().squeeze(1)[:number]] = True
        return keep_mask


def example() -> TokenLayout:
    return layout_of_runs([[(TEXT, 2), (VIDEO, 20), (AUDIO, 10), (TEXT, 1)], [(AUDIO, 5), (VIDEO, 7), (TEXT, 3)]])


def run(stage: Any, layout: TokenLayout) -> Any:
    return call_stage(stage, layout, tensors_for(layout, torch.float32, inputs=stage.inputs), "auto")


def test_both_keep_what_either_keeps() -> None:
    layout = example()
    found = run(Both(SALIENT, EVEN), layout)
    assert torch.equal(found.keep_mask, run(SALIENT, layout) | run(EVEN, layout))
    assert found.merge is None


def test_the_second_sees_only_what_the_first_dropped() -> None:
    layout = example()
    first = run(SALIENT, layout)
    rest = layout.select(~first | layout.is_modality(TEXT))
    kept = set(rest.position[run(EVEN, rest)].tolist())  # positions of both prompts, side by side
    found = run(Both(SALIENT, EVEN, on_the_rest=True), layout)
    added = found.keep_mask & ~first
    assert set(layout.position[added].tolist()) <= kept
    for kind in (VIDEO, AUDIO):
        for row in range(2):
            here = layout.is_modality(kind) & (layout.rows() == row)
            n, k = int(here.sum()), int((first & here).sum())
            assert int((found.keep_mask & here).sum()) == k + max(1, round(0.3 * (n - k)))


def test_every_modality_has_its_own_stage() -> None:
    layout = example()
    found = run(PerModality({"audio": SALIENT, "video": AsManyAsKept()}), layout)
    audio = layout.is_modality(AUDIO)
    assert torch.equal(found.keep_mask[audio], run(SALIENT, layout)[audio])
    for row, number in enumerate((2, 1)):
        here = layout.is_modality(VIDEO) & (layout.rows() == row)
        assert found.keep_mask[here].tolist() == [True] * number + [False] * (int(here.sum()) - number)
    # In the other order nothing of the audio is gone yet.
    other = run(PerModality([("video", AsManyAsKept()), ("audio", SALIENT)]), layout)
    assert int((other.keep_mask & layout.is_modality(VIDEO)).sum()) == 10 + 5


def test_merges_of_parts_are_joined_and_each_keeps_to_its_modality() -> None:
    layout = example()
    stage = PerModality({"video": ToTheFirst(), "audio": ToTheFirst("audio")})
    assert stage.merges
    merge = run(stage, layout).merge
    assert len(merge.source) == 20 + 10 + 5 + 7
    assert torch.equal(layout.modality[merge.target], layout.modality[merge.source])
    with pytest.raises(ValueError, match="expected every row to be merged once, got row 2 twice"):
        run(Both(ToTheFirst(), ToTheFirst()), layout)
    after = run(Both(Select(Saliency(), Ratio(0.2)), ToTheFirst(), on_the_rest=True), layout)
    assert bool(after.keep_mask[after.merge.target].all())


@pytest.mark.parametrize(
    "stage",
    [
        Both(SALIENT, EVEN, on_the_rest=True),
        PerModality({"audio": DiversitySelector(0.4), "video": Select(None, Ratio(0.2), MaxMin())}),
        PerModality([("video", Both(SALIENT, EVEN))]),
    ],
    ids=["both", "per modality", "nested"],
)
def test_stored_with_all_parts(stage: Any) -> None:
    schedule = Schedule(stage)
    again = Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert again == schedule and hash(again) == hash(schedule)


PIECES = {
    "saliency": SALIENT,
    "by frame": Select(Saliency("mean"), Ratio({"video": 0.4, "image": 0.5}, group="frame", rounding="ceil")),
    "lowest": Select(Relevance(), Ratio(0.4), TopK(largest=False)),
    "exact": Select(Saliency(), Ratio(0.3, group="item", exact_total=True, minimum=0)),
    "strided": EVEN,
    "by chance": Select(None, Ratio(0.3), RandomK()),
    "diverse": Select(None, Ratio(0.3), MaxMin()),
    "both": Both(SALIENT, EVEN, on_the_rest=True),
    "per modality": PerModality({"audio": SALIENT, "video": EVEN}),
    "exact blocks": DiversitySelector(0.3, exact_total=True),
}


@pytest.mark.parametrize("name", PIECES)
def test_the_protocol_is_kept(name: str) -> None:
    check_stage(PIECES[name])


def test_a_stage_that_merges_is_checked_for_what_it_merges() -> None:
    @dataclass(frozen=True)
    class Careless(ToTheFirst):
        merges: ClassVar[bool] = False

    @dataclass(frozen=True)
    class Wild(ToTheFirst):
        def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Selection:
            found = super().__call__(features, layout)
            return Selection(found.keep_mask, merge=found.merge._replace(coefficient=found.merge.coefficient / 0))

    with pytest.raises(AssertionError, match="merges = True of a stage that does"):
        check_stage(Careless())
    with pytest.raises(AssertionError, match=r"merge\.coefficient to be finite"):
        check_stage(Wild())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Both(SALIENT, "even"), "second: expected stages such as"),
        (lambda: PerModality({"smell": SALIENT}), "stages: expected modalities among"),
        (lambda: PerModality([("video", SALIENT), ("video", EVEN)]), "each once"),
        (lambda: PerModality({"video": 0.5}), r"stages\['video'\]: expected stages such as"),
    ],
)
def test_parts_that_are_none(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()
