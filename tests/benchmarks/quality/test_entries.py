"""Contenders cost what they should, the oracle knows, faults are what they say, results are never mixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.quality.contenders import Contender, Layers, contenders, follow_relevance
from benchmarks.quality.entries import Entry, enter, lengths_of
from benchmarks.quality.examine import Examiner, questions_of, subjects_of
from benchmarks.quality.ledger import Ledger, pack, read_revision, read_rows
from benchmarks.quality.planted import EarlyScores, Knowing, Renumbered, Shuffled, WrongWindows, tokens_by_row
from benchmarks.quality.scenes import Scene
from benchmarks.quality.tasks import TASKS, curves, task
from benchmarks.quality.thinker import Size, config_of, family_for, new_thinker
from seats_ops import DiversitySelector, Modality, Schedule, StagePruner, WindowBudgetAllocator
from seats_ops.cost import retained
from seats_ops.methods import methods
from seats_ops.testing import layout_of_runs

LAYERS = Layers((3, 4), 7)
REVISION = {"rules": 1, "models": {"a": "0"}}


@pytest.fixture(scope="module")
def config() -> Any:
    return config_of(Size())


def test_every_published_method_takes_part() -> None:
    names = {one.name for one in contenders(LAYERS)}
    assert set(methods()) - {"random"} <= names
    assert len(names) == len(contenders(LAYERS))


@pytest.mark.parametrize("retention", [0.4, 0.1])
def test_entries_cost_the_same_on_average_over_chunks(config: Any, retention: float) -> None:
    lengths = lengths_of(Scene())
    chosen = [one for one in contenders(LAYERS) if one.role in ("baseline", "method")]
    entries = enter(chosen, config, lengths, "layer-average", retention)
    assert sum(bool(one.choices) for one in entries) >= 10
    for entry in entries:
        if not entry.choices:
            assert entry.reason
            continue
        costs = [entry.choice(chunk).layer_average for chunk in range(200)]
        assert sum(costs) / len(costs) == pytest.approx(retention, rel=0.021), entry.key
        for choice in entry.choices:
            assert retained(choice.schedule, lengths, 8).layer_average == pytest.approx(choice.layer_average)


def test_what_cannot_reach_a_cost_says_so(config: Any) -> None:
    fastv, omniselect = enter(
        [one for one in contenders(LAYERS) if one.name in ("fastv", "omniselect")],
        config,
        lengths_of(Scene()),
        "layer-average",
        0.2,
    )
    assert not fastv.choices and "at least, more than 0.2" in fastv.reason
    assert not omniselect.choices and "video_relevance" in omniselect.reason


def test_the_second_choice_has_its_share_of_chunks() -> None:
    low, high = object(), object()
    entry = Entry(_anyone(), "flops", 0.2, (low, high), share=0.3)  # type: ignore[arg-type]
    assert [entry.choice(chunk) is high for chunk in range(10)].count(True) == 3


def _anyone() -> Contender:
    return contenders(LAYERS)[0]


def layout_and_generators() -> tuple[Any, list[torch.Generator]]:
    runs = [(Modality.TEXT, 2), (Modality.VIDEO, 10), (Modality.AUDIO, 6), (Modality.VIDEO, 10), (Modality.TEXT, 2)]
    return layout_of_runs([runs, runs]), [torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)]


@pytest.mark.parametrize("kept", [True, False])
def test_the_oracle_keeps_what_the_anti_oracle_drops(kept: bool) -> None:
    layout, generators = layout_and_generators()
    needles = torch.zeros(len(layout), dtype=torch.bool)
    needles[[3, 5, 13, 35]] = True
    keep = Knowing(0.2, kept)(needles, layout, generators=generators)
    assert keep[needles].all() if kept else not keep[needles].any()
    assert keep[layout.modality == Modality.TEXT].all()
    assert [int(keep[index].sum()) for _, index in tokens_by_row(layout)] == [4, 1, 4, 1]


def test_faults_hand_over_something_else_of_the_same_row_and_modality() -> None:
    layout, generators = layout_and_generators()
    scores, features = torch.rand(len(layout)), torch.randn(len(layout), 8)
    told: dict[str, torch.Tensor] = {}

    def stage(*given: Any, saliency: torch.Tensor | None = None, backend: str = "auto") -> torch.Tensor:
        told["values"] = given[0] if saliency is None else saliency
        told["windows"] = given[1].windows()[0]
        return given[0]

    stage.inputs = ("scores",)  # type: ignore[attr-defined]
    Shuffled(stage, "scores")(scores, layout, generators=generators)
    _same_but_elsewhere(scores, told["values"], layout)
    stage.inputs = ("features", "saliency")  # type: ignore[attr-defined]
    Shuffled(stage, "saliency")(features, layout, saliency=scores, generators=generators)
    _same_but_elsewhere(scores, told["values"], layout)
    WrongWindows(stage)(scores, layout, generators=generators)
    windows = layout.windows()[0]
    assert (told["windows"] != windows).any()
    for _, index in tokens_by_row(layout):
        assert told["windows"][index].sort().values.equal(windows[index].sort().values)
    assert EarlyScores(stage)(scores, layout) is scores
    assert Renumbered()(layout).positions == "renumbered" and bool(Renumbered()(layout).keep_mask.all())


def _same_but_elsewhere(values: torch.Tensor, told: torch.Tensor, layout: Any) -> None:
    assert not values.equal(told)
    for _, index in tokens_by_row(layout):
        assert values[index].sort().values.equal(told[index].sort().values)


def test_budgets_that_follow_relevance_are_those_of_the_most_relevant_tokens() -> None:
    layout, _ = layout_and_generators()
    scores = torch.rand(len(layout), generator=torch.Generator().manual_seed(4))
    budgets = follow_relevance(scores, layout, 0.5)
    keep = StagePruner(0.5, allocator=follow_relevance)(scores, layout)
    for modality, index in tokens_by_row(layout):
        most = index[scores[index].argsort(descending=True)[: round(0.5 * len(index))]]
        assert keep[index].sum() == len(most) and keep[most].all(), modality
    assert budgets.sum() == WindowBudgetAllocator()(scores, layout, 0.5).sum()


@torch.no_grad()
def test_a_cell_is_judged_by_what_the_model_answers_and_saw() -> None:
    model = new_thinker(Size(layers=3, width=48), 0)
    examiner = Examiner(_Trained(model), last_reader=2)  # type: ignore[arg-type]
    batch = examiner.batch(task("order"), 0, (), items=6)
    full = examiner.full(batch)
    assert full.same.all() and full.kl.abs().max() == 0 and (full.found == 2).all()
    cell = examiner.cell(batch, Schedule(Knowing(0.1, needles_kept=True)))
    assert (cell.found == 2).all() and (cell.kl >= 0).all()
    assert cell.seen == pytest.approx((round(14.4) + 8) / 224)
    blind = examiner.cell(batch, Schedule(Knowing(0.1, needles_kept=False)))
    assert (blind.found == 0).all()
    late = examiner.cell(batch, Schedule(after_layer={2: Knowing(0.1, needles_kept=False)}))
    assert (late.found == 2).all(), "what leaves after the last reader was read"
    assert family_for(model).audio_block == 10
    assert not isinstance(DiversitySelector(0.1), Knowing)


class _Trained:
    def __init__(self, model: Any) -> None:
        self.model = model


def test_questions_are_the_same_whoever_is_asked() -> None:
    one, other = questions_of(task("menu"), 3, 4), questions_of(task("menu"), 3, 4)
    assert torch.equal(one[1].answer, other[1].answer) and torch.equal(one[0].pixels, other[0].pixels)
    assert not torch.equal(subjects_of(task("menu"), 3), subjects_of(task("menu"), 4))
    assert len({one.name for one in (*TASKS, *curves())}) == len(TASKS) + len(list(curves()))
    assert task("needle-1/windows=16").scene.windows == 16
    with pytest.raises(ValueError, match=r"task: expected one of needle-1, .*, got 'nothing'"):
        task("nothing")


def test_an_interrupted_file_loses_its_torn_line_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    ledger = Ledger(path, REVISION)
    ledger.add("a", "menu", 0, {"full||1": ["77", 0.0, 1.0, 1.0]})
    with path.open("a") as file:
        file.write('{"model": "a", "task": "menu", "chu')
    again = Ledger(path, REVISION)
    assert again.done() == {("a", "menu", 0): {"full||1"}}
    again.add("a", "menu", 1, {"full||1": ["7f", 0.0, 1.0, 1.0]})
    assert [row["chunk"] for row in read_rows(path)] == [0, 1]
    pack(path, tmp_path / "items.jsonl.gz")
    assert list(read_rows(tmp_path / "items.jsonl.gz")) == list(read_rows(path))
    assert read_revision(tmp_path / "items.jsonl.gz") == REVISION


def test_results_of_another_revision_are_named_and_never_mixed(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    Ledger(path, REVISION)
    with pytest.raises(ValueError, match=r"items\.jsonl: results of another revision, never mixed: models is"):
        Ledger(path, {**REVISION, "models": {"a": "1"}})
    path.write_text(json.dumps({"name": "something else"}) + "\n")
    with pytest.raises(ValueError, match="expected a file of AV-recall items, got one that begins with"):
        Ledger(path, REVISION)
