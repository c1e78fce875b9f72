"""Which layers a horizon speaks for, on curves made by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops import seats
from seats_ops.cost import asked_retention
from seats_ops.horizon import Cell, Horizon, Suggestion

LAYERS = 8
ROWS = 20


def curve(
    agreed: Mapping[int, Sequence[int]],
    gains: Mapping[int, Sequence[float]] | None = None,
    labels: Sequence[str] | None = None,
    rows: int = ROWS,
) -> Horizon:
    """Rows that do not agree once all media leave after a layer, and what relevance saves there, 0 if not given."""
    cells: dict[tuple[str, int], Cell] = {}
    every = tuple(range(rows))
    for layer in range(LAYERS):
        lost = agreed.get(layer, ())
        same = tuple(0.0 if row in lost else 1.0 for row in every)
        cells["media", layer] = Cell(every, same, tuple(1.0 - x for x in same), (0,) * rows)
        if layer:
            gain = tuple((gains or {}).get(layer, (0.0,) * rows))
            cells["relevance", layer] = Cell(every, same, (1.0,) * rows, (0,) * rows)
            cells["shuffled", layer] = Cell(every, same, tuple(1.0 + x for x in gain), (0,) * rows)
    given = None if labels is None else tuple(labels)
    return Horizon(LAYERS, tuple(range(LAYERS)), ("video",), 0.2, 1, 0, (0,) * rows, given, cells)


ALL = range(ROWS)
SAVES = tuple(0.1 + 0.01 * row for row in ALL)
NOTHING = tuple(0.1 * (-1) ** row for row in ALL)


@pytest.mark.parametrize(
    ("lost", "late"),
    [
        ({0: ALL, 1: ALL, 2: ALL}, 4),
        ({0: ALL}, 2),
        ({0: ALL, 4: (3,)}, 6),  # layer 1 to 3 look free; what layer 4 still loses counts
        ({0: ALL, 7: (0,)}, None),
        ({0: ALL, **{layer: (layer,) for layer in range(1, 8)}}, None),
    ],
)
def test_late_is_behind_the_last_layer_that_loses(lost: dict[int, Sequence[int]], late: int | None) -> None:
    assert curve(lost).suggest().late_layer == late


def test_it_is_the_lower_end_that_counts() -> None:
    # One of twenty is lost: 95 % agree, and the interval goes down to 85 %.
    found = curve({0: ALL, 5: (1,)})
    mean = found.mean("media", 5)
    assert mean.value == 0.95 and mean.low is not None and mean.low < 0.9
    assert found.suggest(0.92).late_layer == 7 and found.suggest(mean.low).late_layer == 2
    assert "after layer 5 agreement is 95.0% (at least" in found.suggest().reasons[0]


def test_what_twenty_rows_cannot_show_is_said() -> None:
    least = 0.05 ** (1 / ROWS)  # of twenty that all agree: Clopper and Pearson, one-sided
    assert f"at least {least:.1%}" in curve({0: ALL}).suggest().reasons[2]


def test_a_loss_that_changes_no_answer_is_said() -> None:
    found = curve({0: ALL, 1: ALL})
    kl = tuple(0.25 if row == 7 else 0.05 for row in ALL)
    cells = {**found.cells, ("media", 2): replace(found.cells["media", 2], kl=kl)}
    said = replace(found, cells=cells).suggest()
    assert said.late_layer == 3 and "KL there is 0.060 nats on average and 0.250 at worst" in said.reasons[1]


def test_questions_that_need_no_media_tell_nothing() -> None:
    found = curve({}).suggest()
    assert (found.late_layer, found.drop_layers, found.conclusive) == (None, (), False)
    assert "without any media" in found.reasons[0]


def test_a_label_that_still_loses_is_not_outvoted() -> None:
    rows = 1000
    labels = ["easy"] * (rows - 5) + ["hard"] * 5
    lost = {0: range(rows), 4: (rows - 1,)}
    assert curve(lost, rows=rows).suggest().late_layer == 2
    found = curve(lost, labels=labels, rows=rows).suggest()
    assert found.late_layer == 6 and "agreement of 'hard' is 80.0%" in found.reasons[0]


def test_drops_are_where_relevance_saves_something() -> None:
    found = curve({0: ALL, 5: ALL}, {2: SAVES, 3: NOTHING, 4: SAVES, 6: SAVES}).suggest()
    # After layer 6 everything leaves: a drop there would have no layer of its own.
    assert (found.late_layer, found.helped, found.drop_layers) == (7, (2, 4), (2, 4))
    assert "after layers 2, 4 of 5 tried" in found.reasons[-1]


def test_of_many_the_first_the_middle_and_the_last_are_taken() -> None:
    found = curve({0: ALL, 7: ALL}, {layer: SAVES for layer in (1, 2, 3, 4, 6)}).suggest()
    assert (found.late_layer, found.drop_layers) == (None, (1, 3, 6))


def test_none_is_said_plainly() -> None:
    found = curve({0: ALL, 5: ALL}, {layer: NOTHING for layer in range(1, 8)}).suggest()
    assert found.drop_layers == () and found.reasons[-1] == (
        "Relevance never beats shuffled scores (5 layers tried): no drop layers."
    )


def test_one_layer_of_many_that_gains_by_chance_does_not_pass() -> None:
    # The 95 % interval lies above 0, that for seven layers does not: t = 2.2 of 20 values.
    barely = tuple(0.5 + (1 if row % 2 else -1) for row in ALL)
    found = curve({0: ALL, 7: ALL}, {3: barely})
    assert found.gain(3).low > 0 > found.gain(3, confidence=1 - 0.05 / 7).low  # type: ignore[operator]
    assert found.suggest().helped == ()


def test_scores_that_harm_a_label_are_not_suggested() -> None:
    gains = {3: tuple(1.0 if row < 15 else -0.5 - 0.01 * row for row in ALL)}
    labels = ["helped"] * 15 + ["harmed"] * 5
    assert curve({0: ALL, 7: ALL}, gains).suggest().helped == (3,)
    assert curve({0: ALL, 7: ALL}, gains, labels).suggest().helped == ()


def test_few_rows_prove_nothing() -> None:
    found = curve({0: range(4)}, {2: (1.0,) * 4}, rows=4)
    assert found.mean("media", 1).low is None
    assert found.suggest() == Suggestion(
        None, (), (), ("Nothing is suggested from 4 prompts: it takes 5 for an interval.",), False
    )


def test_a_threshold_that_cannot_be() -> None:
    for threshold in (0.0, 1.01, math.nan):
        with pytest.raises(ValueError, match="threshold: expected"):
            curve({}).suggest(threshold)


@pytest.fixture(scope="module")
def config() -> Any:
    return Qwen2_5OmniThinkerConfig(text_config={"num_hidden_layers": LAYERS})


@pytest.mark.parametrize(
    ("late", "drops"),
    [(7, (3, 4, 5)), (None, (7,)), (3, ()), (None, ()), (4, (1,)), (8, (5, 6)), (None, (1, 2, 3)), (2, ())],
)
def test_schedules_meet_the_retention_from_any_layers(config: Any, late: int | None, drops: tuple[int, ...]) -> None:
    schedule = Suggestion(late, drops, drops, ()).schedule(config, video=0.1, audio=0.12)
    asked = asked_retention(schedule, LAYERS)
    assert (asked["video"], asked["audio"]) == (pytest.approx(0.1, abs=1e-4), pytest.approx(0.12, abs=1e-4))
    late_after = () if late is None else (late - 1,)
    assert [layer for layer, _ in schedule.stages()] == [0, *drops, *late_after]


def test_the_papers_scale_is_taken_where_it_reaches(config: Any) -> None:
    found = Suggestion(7, (3, 4, 5), (3, 4, 5), ())
    papers = seats(config, video=0.1, audio=0.2, drop_layers=(3, 4, 5), late_layer=7)
    assert found.schedule(config, video=0.1, audio=0.2) == papers
    wider = found.schedule(config, video=0.1, audio=0.2, encoder_ratio_scale=1.5)
    assert wider.before_llm[0].keep_ratio["video"] == pytest.approx(0.15)


def test_a_share_above_one_cannot_enter(config: Any) -> None:
    with pytest.raises(ValueError, match="video: expected encoder_ratio_scale \\* video <= 1"):
        Suggestion(3, (), (), ()).schedule(config, video=0.5, audio=0.1)


def test_rows_of_a_label_keep_their_numbers() -> None:
    found = curve({0: (0, 3)}, labels=["a", "b"] * 10).of("b")
    assert found.num_rows == 10 and found.cell("media", 0).rows == tuple(range(10))
    assert found.cell("media", 0).agreement == (1.0, 0.0) + (1.0,) * 8
    with pytest.raises(ValueError, match=r"label: expected one of \['a', 'b'\], got"):
        curve({}, labels=["a", "b"] * 10).of("c")


def test_answers_that_are_known() -> None:
    found = curve({})
    assert found.accuracy([0] * 5 + [1] * 15).value == 0.25
    assert found.accuracy([0] * 5 + [1] * 15, "media", 3).value == 0.25
    with pytest.raises(ValueError, match="answers: expected 20, one per row, got 1"):
        found.accuracy([0])


def test_what_was_not_measured_is_named() -> None:
    found = curve({})
    with pytest.raises(ValueError, match=r"way, layer: expected one of .*, got 'audio', 3"):
        found.mean("audio", 3)
    with pytest.raises(ValueError, match="metric: expected one of"):
        found.mean("media", 3, "accuracy")
    with pytest.raises(ValueError, match="way, layer"):
        found.gain(0)
