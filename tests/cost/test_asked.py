"""What a schedule asks for, beside what rounding makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from seats_ops import (
    DiversitySelector,
    ModalityDropper,
    PerModality,
    Ratio,
    Schedule,
    Select,
    Stage,
    StagePruner,
    seats,
)
from seats_ops.cost import PromptLengths, asked_retention, realised_retention
from seats_ops.cost.asked import beside
from seats_ops.methods.seats import PAPER_RATIOS
from seats_ops.operators.asked import asked_of
from seats_ops.operators.selectors import Strided
from tests.cost.test_prefill import THINKER_7B

TENTH = Select(None, Ratio(0.1), Strided())


@dataclass(frozen=True)
class Mine(DiversitySelector):
    """May keep anything."""


@pytest.mark.parametrize(
    ("stage", "asked"),
    [
        (DiversitySelector(0.1), {"video": 0.1, "audio": 0.1, "image": 1.0}),
        (DiversitySelector({"image": 0.2}), {"video": 1.0, "audio": 1.0, "image": 0.2}),
        (StagePruner({"audio": 0.5}), {"video": 1.0, "audio": 0.5, "image": 1.0}),
        (ModalityDropper(("video",)), {"video": 0.0, "audio": 1.0, "image": 1.0}),
        (TENTH, {"video": 0.1, "audio": 0.1, "image": 1.0}),
        (PerModality({"video": TENTH}), {"video": 0.1, "audio": 1.0, "image": 1.0}),
        (PerModality({"video": Mine(0.1), "audio": TENTH}), {"audio": 0.1, "image": 1.0}),
        (Mine(0.1), {}),
    ],
    ids=repr,
)
def test_what_a_stage_asks_for(stage: Stage, asked: dict[str, float]) -> None:
    assert asked_of(stage) == asked


@pytest.mark.parametrize("ratios", PAPER_RATIOS["qwen2_5_omni"].values())
def test_a_schedule_of_the_paper_asks_for_its_ratios(ratios: tuple[float, float]) -> None:
    """The ratio of every drop has four decimals."""
    asked = asked_retention(seats(THINKER_7B, *ratios), 28)
    assert (asked["video"], asked["audio"]) == pytest.approx(ratios, abs=1e-4)


def test_short_blocks_miss_what_long_ones_and_an_exact_total_meet() -> None:
    """By hand: a tenth of 17 tokens is two, of 13 one, and layers 5 to 8 have no audio."""
    lengths = PromptLengths(text=5, video_blocks=(17, 17), audio_blocks=(13,) * 10)
    schedule = Schedule(DiversitySelector(0.1), {4: ModalityDropper(("audio",))})
    exact = Schedule(DiversitySelector(0.1, exact_total=True), {4: ModalityDropper(("audio",))})
    assert asked_retention(schedule, 8) == {"video": 0.1, "audio": 0.05, "image": 1.0}
    assert realised_retention(schedule, lengths, 8) == {"video": 4 / 34, "audio": 10 / 130 / 2}
    assert realised_retention(exact, lengths, 8) == {"video": 3 / 34, "audio": 13 / 130 / 2}


def test_after_a_stage_that_does_not_say_nothing_is_known() -> None:
    assert asked_retention(Schedule([Mine(0.1), DiversitySelector(0.5)]), 8) == {}
    only_video = PerModality({"video": Mine(0.1)})
    assert asked_retention(Schedule([only_video], {4: ModalityDropper()}), 8) == {"audio": 0.5, "image": 1.0}


@pytest.mark.parametrize("num_layers", [0, 2.0, True])
def test_layers_are_a_number_of_them(num_layers: object) -> None:
    with pytest.raises(ValueError, match="num_layers: expected an int from 1"):
        asked_retention(Schedule(), num_layers)  # type: ignore[arg-type]


def test_as_text() -> None:
    kept = {"video": 0.12, "audio": 0.075}
    assert beside(kept, {"video": 0.1, "image": 1.0}) == "video 12.0% (asked 10.0%), audio 7.5%"
