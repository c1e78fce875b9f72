"""From rows of results to the numbers of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("statsmodels")

from benchmarks.quality.comparisons import difference, differences, lossless
from benchmarks.quality.formats import cannot, points
from benchmarks.quality.measures import measured
from benchmarks.quality.outcomes import FULL, Cost, Results
from benchmarks.quality.run import FULL_KEY
from benchmarks.quality.tables import accuracies, accuracy_rows, draws, ranked
from tests.benchmarks.quality.results import MODELS, cell, first, last, write

AT = Cost("layer-average", 0.2)
TASKS = ("needle-1", "gist")
COLUMNS = {"one": ("needle-1",), "two": ("gist",)}


def key(name: str) -> str:
    return f"{name}|layer-average|0.2"


def some(model: str, task: str, chunk: int) -> dict[str, list[Any]]:
    better = {MODELS[0]: 80, MODELS[1]: 90}[model]
    drawn = {key(f"random-{seed}"): cell(first(30 + seed)) for seed in range(5)}
    return {
        **drawn,
        key("seats-even"): cell(first(better), seen=0.19 + 0.02 * chunk),
        key("uniform"): cell(last(40)),
        key("fastv"): ["ratio: costs 0.5212 of the whole prompt at least, more than 0.2"],
        key("omniselect"): ["needs video_relevance: logits of AudioCLIP there, which no thinker gives"],
        key("seats/unweighted"): cell(first(better - 1)),
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return Results(write(tmp_path_factory.mktemp("results") / "items.jsonl", some))


def test_a_cell_is_the_mean_over_models_and_chunks(results: Results) -> None:
    one = measured(results, TASKS, "seats-even", AT)
    assert one is not None and one.spread is None
    assert one.accuracy.mean == pytest.approx(0.85) and one.items == 2 * 2 * 200
    assert one.by_model == pytest.approx({MODELS[0]: 0.8, MODELS[1]: 0.9})
    assert one.executed == pytest.approx(0.20) and one.recall == pytest.approx(0.85)
    assert one.agreement == pytest.approx(0.85) and one.kl == pytest.approx(0.15)


def test_random_is_the_mean_of_its_draws(results: Results) -> None:
    one = measured(results, TASKS, "random", AT)
    assert one is not None
    assert one.accuracy.mean == pytest.approx(0.32) and one.spread == pytest.approx((0.30, 0.34))
    assert one.items == 800  # Draws of the same items are no further items.
    assert "one 30.0 to 34.0, two 30.0 to 34.0" in draws(results, AT, COLUMNS)


def test_what_cannot_reach_a_cost_says_so_in_its_cells(results: Results) -> None:
    table = accuracies(results, AT, COLUMNS)
    assert "| fastv | cannot: 52.1 at least | cannot | cannot |" in table
    assert "| omniselect | cannot: needs video_relevance | cannot | cannot |" in table
    assert "fastv" not in accuracies(results, AT, COLUMNS, reached=True)
    assert cannot("ratio: costs 0.09375 of the whole prompt at the nearest, 0.25, not 0.1").endswith(
        "9.4 at the nearest"
    )


def test_rows_go_from_best_to_worst_and_changed_ones_have_tables_of_their_own(results: Results) -> None:
    assert list(ranked(results, TASKS, AT)) == ["full", "seats-even", "uniform", "random", "fastv", "omniselect"]
    _, rows = accuracy_rows(results, AT, COLUMNS)
    assert rows[1][:2] == ["seats-even", "20.0"] and rows[1][2].startswith("85.0 ±")


def test_a_difference_is_of_the_same_items(results: Results) -> None:
    """80 first and 40 last items of a hundred: 60 that the first has alone, 20 the second; 90 and 40: 60 and 10."""
    one = difference(results, TASKS, ("seats-even", AT), ("uniform", AT))
    assert one is not None
    assert one.interval.mean == pytest.approx(0.45) and one.by_model == pytest.approx({MODELS[0]: 0.4, MODELS[1]: 0.5})
    assert one.p < 1e-40 and one.sure and one.agreeing == 2
    assert points(one).startswith("**+45.0** (+") and points(one).endswith("2/2")


def test_against_random_the_least_sure_draw_counts(results: Results) -> None:
    """Draws 30 to 34 against 80: the last one leaves 46 items a chunk, eight chunks, twice 2 ** -n at most."""
    one = difference(results, ("needle-1",), ("seats-even", AT), ("random", AT))
    assert one is not None and one.interval.mean == pytest.approx(0.85 - 0.32)
    assert one.p == pytest.approx(2.0 * 0.5 ** (2 * 46 + 2 * 56))


def test_holm_is_over_all_that_are_compared(results: Results) -> None:
    names = ["uniform", "random", "fastv", "seats-even", "seats/unweighted"]
    found = differences(results, ("needle-1",), "seats-even", names, AT)
    assert list(found) == ["uniform", "random", "seats/unweighted"]
    alone = difference(results, ("needle-1",), ("seats-even", AT), ("seats/unweighted", AT))
    assert alone is not None and alone.p == pytest.approx(2 * 0.5**4)
    assert found["seats/unweighted"].p == pytest.approx(alone.p)  # The largest of three is multiplied by one.
    assert not found["seats/unweighted"].sure and "p .125" in points(found["seats/unweighted"])


def test_nothing_is_lossless_that_loses_on_one_model(tmp_path: Path) -> None:
    def cells(model: str, task: str, chunk: int) -> dict[str, list[Any]]:
        return {key("seats"): cell(first(100)), key("uniform"): cell(first(98 if model == MODELS[1] else 100))}

    results = Results(write(tmp_path / "items.jsonl", cells, chunks=10))
    found = lossless(results, TASKS, ["seats", "uniform", "nobody"], AT)
    assert found["seats"] == pytest.approx(2 * 0.99**1000) and found["uniform"] > 0.95


def test_models_that_do_not_know_a_task_are_left_out_of_it(tmp_path: Path) -> None:
    def cells(model: str, task: str, chunk: int) -> dict[str, list[Any]]:
        known = 94 if (model, task) == (MODELS[0], "gist") else 95
        return {FULL_KEY: cell(first(known), seen=1.0), key("seats"): cell(first(50 if model == MODELS[0] else 70))}

    results = Results(write(tmp_path / "items.jsonl", cells))
    assert results.unpublished == {(MODELS[0], "gist"): pytest.approx(0.94)}
    one = measured(results, ("gist",), "seats", AT)
    assert one is not None and one.by_model == {MODELS[1]: pytest.approx(0.7)} and one.items == 200
    both = difference(results, TASKS, ("seats", AT), (FULL, AT))
    assert both is not None and both.interval.mean == pytest.approx(((0.5 + 0.7 - 2 * 0.95) / 2 + 0.7 - 0.95) / 2)


def test_a_column_that_no_model_knows_is_not_published(tmp_path: Path) -> None:
    results = Results(
        write(
            tmp_path / "items.jsonl",
            lambda model, task, chunk: {
                FULL_KEY: cell(first(100 if task == "needle-1" else 60)),
                key("seats"): cell(first(50)),
            },
        )
    )
    assert "| seats | 20.0 | 50.0 ±4.9 | not published |" in accuracies(results, AT, COLUMNS)


def test_pairs_are_of_chunks_that_both_answered(tmp_path: Path) -> None:
    """An evaluation under way: the second chunk lacks one of both."""

    def cells(model: str, task: str, chunk: int) -> dict[str, list[Any]]:
        return {key("seats"): cell(first(60)), **({} if chunk else {key("uniform"): cell(first(50))})}

    results = Results(write(tmp_path / "items.jsonl", cells))
    one = difference(results, ("needle-1",), ("seats", AT), ("uniform", AT))
    assert one is not None and one.interval.mean == pytest.approx(0.1)
    assert one.p == pytest.approx(2 * 0.5**20)
    alone = measured(results, ("needle-1",), "seats", AT)
    assert alone is not None and alone.items == 400


def test_a_file_without_results_says_so(tmp_path: Path) -> None:
    empty = write(tmp_path / "items.jsonl", lambda model, task, chunk: {}, chunks=0)
    with pytest.raises(ValueError, match=r"expected results, got none; python -m benchmarks quality evaluate"):
        Results(empty)
