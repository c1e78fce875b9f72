"""Stages made of a scorer, a budget and a selector, against loops over groups."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seats_ops import DiversitySelector, Modality, PerModality, Ratio, Schedule, Select, TokenLayout, register_stage
from seats_ops.cost import PromptLengths, token_counts
from seats_ops.layout import group_tokens
from seats_ops.operators.registry import REGISTERED
from seats_ops.operators.scorers import Relevance, Saliency
from seats_ops.operators.selectors import MaxMin, RandomK, Strided, TopK
from seats_ops.operators.stage_call import call_stage
from seats_ops.operators.stage_checks import check_result
from seats_ops.operators.stored import Stored
from seats_ops.operators.temporal import TemporalChange
from seats_ops.testing import layout_of_runs
from tests.layout.test_groups import example

VIDEO, AUDIO, TEXT = Modality.VIDEO, Modality.AUDIO, Modality.TEXT


def tensors_of(layout: TokenLayout, seed: int = 0) -> dict[str, Any]:
    random = torch.Generator().manual_seed(seed)
    total = len(layout)
    return {
        "features": torch.randn(total, 6, generator=random),
        "saliency": torch.randint(0, 5, (total,), generator=random).float(),
        "scores": torch.rand(total, generator=random),
        "generators": tuple(torch.Generator().manual_seed(3) for _ in range(layout.num_rows)),
    }


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("rounding", ["round", "floor", "ceil"])
@pytest.mark.parametrize("by", ["modality", "item", "frame"])
def test_top_k_of_every_group(by: str, rounding: str, largest: bool) -> None:
    layout = example()
    tensors = tensors_of(layout)
    ratio = {"video": 0.4, "audio": 0.3}
    stage = Select(Saliency(), Ratio(ratio, group=by, rounding=rounding), TopK(largest))
    keep_mask = call_stage(stage, layout, tensors, "auto")
    expected = ~layout.is_modality(VIDEO, AUDIO)
    groups = group_tokens(layout, by, [VIDEO, AUDIO])
    for number in range(len(groups)):
        tokens = (groups.ids == number).nonzero().flatten().tolist()
        wanted = ratio["video" if layout.modality[tokens[0]] == VIDEO else "audio"] * len(tokens)
        k = max(1, {"round": round, "floor": floor, "ceil": ceil}[rounding](wanted))
        sign = -1 if largest else 1
        expected[sorted(tokens, key=lambda i: (sign * float(tensors["saliency"][i]), i))[:k]] = True
    assert torch.equal(keep_mask, expected)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(0, 100), st.integers(0, 2))
def test_exact_totals(lengths: list[int], percent: int, minimum: int) -> None:
    runs = [run for n in lengths for run in ((VIDEO, n), (TEXT, 1))]
    layout = layout_of_runs([runs, [(VIDEO, 5), (TEXT, 1)]])
    blocks = [n for n in lengths if n]
    budget = Ratio(percent / 100, group="window", exact_total=True, minimum=minimum)
    groups, budgets = budget(None, layout)
    mine = budgets[groups.row == 0].tolist()
    total = max(round(percent / 100 * sum(blocks)), min(1, minimum, sum(blocks)))
    least = [min(minimum, n) for n in blocks]
    assert sum(mine) == max(total, sum(least))
    assert all(low <= k <= n for low, k, n in zip(least, mine, blocks, strict=True))
    if total > sum(least) and not minimum:
        assert all(abs(k - total * n / sum(blocks)) < 1 + 1e-9 for k, n in zip(mine, blocks, strict=True))


def test_a_prompts_total_misses_its_ratio_by_rounding_unless_asked() -> None:
    layout = layout_of_runs([[(VIDEO, 14), (AUDIO, 4)] * 5 + [(TEXT, 2)]], block_length=14)
    features = tensors_of(layout)["features"]
    counts = {}
    for exact in (False, True):
        stage = DiversitySelector(0.1, weighted=False, exact_total=exact)
        keep_mask = stage(features, layout)
        counts[exact] = [int((keep_mask & layout.is_modality(kind)).sum()) for kind in (VIDEO, AUDIO)]
        (said,) = token_counts(Schedule(stage), PromptLengths.from_layout(layout))
        assert [said.video, said.audio] == counts[exact]
    # 70 and 20 tokens: 1.4 a block is 1, and 14 of audio are one block, 6 the other.
    assert counts == {False: [5, 2], True: [7, 2]}


@pytest.mark.parametrize("n", [1, 2, 7, 30])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_strided(n: int, ratio: float) -> None:
    layout = layout_of_runs([[(VIDEO, n), (TEXT, 1)]])
    keep_mask = Select(None, Ratio(ratio), Strided())(layout)
    k = max(1, round(ratio * n))
    places = {round(Fraction(i * (n - 1), k - 1)) for i in range(k)} if k > 1 else {0}
    assert set(keep_mask[:n].nonzero().flatten().tolist()) == places


def test_chance_is_drawn_for_every_prompt_alone() -> None:
    layout = layout_of_runs([[(VIDEO, 30), (TEXT, 1)], [(VIDEO, 30), (TEXT, 1)]])
    stage = Select(None, Ratio(0.3), RandomK())
    keep_mask = call_stage(stage, layout, tensors_of(layout), "auto")
    assert torch.equal(keep_mask[:31], keep_mask[31:])
    assert int(keep_mask.sum()) == 2 * 10


def test_max_min_is_the_diversity_selector() -> None:
    layout = layout_of_runs([[(VIDEO, 30), (AUDIO, 9), (TEXT, 1)], [(AUDIO, 12), (TEXT, 1)]])
    tensors = tensors_of(layout)
    plain = TokenLayout(layout.modality, layout.position, layout.cu_seqlens)
    for scorer, weighted in ((None, False), (Saliency(), True)):
        mine = call_stage(Select(scorer, Ratio(0.3), MaxMin()), plain, tensors, "auto")
        saliency = tensors["saliency"] if weighted else None
        ours = DiversitySelector(0.3, weighted=weighted)(tensors["features"], plain, saliency=saliency)
        assert torch.equal(mine, ours)


STAGES = [
    Select(Saliency("mean"), Ratio({"video": 0.2}, group="frame", rounding="floor", minimum=0)),
    Select(Relevance("text_max", "next"), Ratio(0.5, exact_total=True), TopK(False)),
    Select(None, Ratio(0.1), Strided()),
    Select(None, Ratio(0.1), MaxMin()),
]


@pytest.mark.parametrize("stage", STAGES, ids=str)
def test_stages_are_stored_with_their_parts(stage: Select) -> None:
    schedule = Schedule(after_layer={3: stage})
    again = Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert again == schedule and hash(again) == hash(schedule)
    assert again.stages()[0][1].inputs == stage.inputs


def test_inputs_are_those_of_the_parts() -> None:
    assert Select(Saliency("mean"), Ratio(0.2, group="frame"), MaxMin()).inputs == ("saliency:mean", "features", "grid")
    assert Select(Relevance(), Ratio(0.2)).inputs == ("scores",)
    assert Select(Relevance("text_max", "next"), Ratio(0.2)).inputs == ("scores:text_max/next",)
    with pytest.raises(ValueError, match="before_llm: expected stages that need no scores"):
        Schedule(Select(Relevance(), Ratio(0.2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ratio(1.5), "keep_ratio: expected"),
        (lambda: Ratio(0.5, rounding="up"), "rounding: expected one of"),
        (lambda: Ratio(0.5, group="row"), "group: expected"),
        (lambda: Ratio(0.5, minimum=-1), "minimum: expected an int from 0"),
        (lambda: Select(None, Ratio(0.5)), "scorer: expected one, as TopK selects by scores"),
        (lambda: Select(Saliency(), 0.5), "budget: expected a Budget"),
        (lambda: Select(Saliency(), Ratio(0.5), "topk"), "selector: expected a Selector"),
        (lambda: Select("saliency", Ratio(0.5)), "scorer: expected a Scorer or None"),
        (lambda: Saliency("median"), "reduction: expected one of"),
        (lambda: Relevance("user"), "query: expected one of"),
        (lambda: Relevance(weights="mine"), "weights: expected one of"),
    ],
)
def test_settings_that_are_none(make: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_scores_of_another_length_are_refused() -> None:
    @dataclass(frozen=True)
    class Short(Stored):
        inputs: ClassVar[tuple[str, ...]] = ("features",)

        def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
            return features[1:, 0]

    layout = example()
    with pytest.raises(ValueError, match=rf"scores: expected \[{len(layout)}\]"):
        Select(Short(), Ratio(0.5))(tensors_of(layout)["features"], layout)


def test_a_scorer_alone_is_no_stage() -> None:
    for make in (
        lambda: Schedule(Saliency()),
        lambda: Schedule((), {2: [Relevance()]}),
        lambda: PerModality({"video": TemporalChange()}),
    ):
        with pytest.raises(TypeError, match=r"expected stages such as Select\(scorer, Ratio\(0\.5\)\), got the scorer"):
            make()
    # One that does not say what it is shows it by its answer.
    with pytest.raises(TypeError, match=r"scores become one by Select\(scorer, Ratio"):
        check_result("Loud", torch.rand(len(example())), example())


def test_registered_classes_are_read_without_being_given() -> None:
    @dataclass(frozen=True)
    class Louder(Stored):
        factor: float = 2.0
        inputs: ClassVar[tuple[str, ...]] = ("saliency",)

        def __call__(self, saliency: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
            return self.factor * saliency

    schedule = Schedule(Select(Louder(3.0), Ratio(0.5)))
    with pytest.raises(ValueError, match="got 'Louder'"):
        Schedule.from_dict(schedule.to_dict())
    assert Schedule.from_dict(schedule.to_dict(), types=[Louder]) == schedule
    try:
        register_stage(Louder)
        assert Schedule.from_dict(schedule.to_dict()) == schedule
        with pytest.raises(ValueError, match="expected another name than Louder"):
            register_stage(type("Louder", (Stored,), {}))
    finally:
        REGISTERED._classes.pop("Louder", None)
    with pytest.raises(TypeError, match="expected a class with from_dict"):
        register_stage(int)


def test_a_cell_that_runs_again_registers_anew() -> None:
    cell = """
@register_stage
@dataclass(frozen=True)
class OddInFrame(Stored):
    inputs = ()
    def __call__(self, layout, *, backend="auto"):
        return layout.position % 2 == 1
"""
    names = {"register_stage": register_stage, "dataclass": dataclass, "Stored": Stored, "__name__": "__main__"}
    try:
        for _ in range(2):
            exec(cell, names)
        schedule = Schedule(names["OddInFrame"]())
        assert Schedule.from_dict(schedule.to_dict()) == schedule
        with pytest.raises(ValueError, match="expected another name than OddInFrame"):
            exec(cell, {**names, "__name__": "elsewhere"})
    finally:
        REGISTERED._classes.pop("OddInFrame", None)
