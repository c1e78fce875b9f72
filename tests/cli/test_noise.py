"""No result seems slower than the one before it for noise, and what cannot be told apart is marked."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seats_ops.cli.noise import told_apart
from seats_ops.cli.run import Run
from seats_ops.cli.tables import result_note, result_table, saved
from seats_ops.cost import PromptLengths


def run(name: str, seconds: list[float], kv_bytes: int = 2**20) -> Run:
    return Run(name, prefill_seconds=seconds, encoder_seconds=[0.0] * len(seconds), kv_bytes=kv_bytes)


def test_what_lies_apart_stays_apart() -> None:
    results = told_apart([[9.0, 8.0, 10.0], [5.0, 4.0, 6.0], [1.0, 3.0, 2.0]])
    assert [(result.median, result.shared) for result in results] == [(9.0, False), (5.0, False), (2.0, False)]


def test_what_overlaps_shares_one_figure() -> None:
    results = told_apart([[9.0, 8.0, 10.0], [4.0, 4.2, 4.4], [4.3, 4.5, 4.7], [1.0, 1.1, 1.2]])
    assert [result.shared for result in results] == [False, True, True, False]
    assert results[1] == results[2]
    assert results[1].median == pytest.approx(4.35)


def test_a_wide_group_takes_in_the_one_before_it() -> None:
    assert len(set(told_apart([[5.0, 6.0], [3.0, 4.0], [1.0, 5.5]]))) == 1


@given(st.lists(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=4), min_size=1, max_size=6))
def test_results_never_rise(times: list[list[float]]) -> None:
    results = told_apart(times)
    assert len(results) == len(times)
    for before, after in itertools.pairwise(results):
        assert before == after or min(before.seconds) > max(after.seconds)


def test_an_order_that_says_nothing_leaves_what_is_slower_slower() -> None:
    results = told_apart([[4.0, 5.0], [8.0, 9.0], [1.0, 2.0], [4.5, 5.5]], falling=False)
    assert [(result.median, result.shared) for result in results] == [
        (4.75, True),
        (8.5, False),
        (1.5, False),
        (4.75, True),
    ]
    slower = run("mine", [6.0])
    slower.retention = None
    said = saved([run("all", [4.0], 2**21), slower], 1, [8, 8], "s")
    assert "no time: 50% more (4.00 → 6.00 s)" in said


def test_the_table_and_the_note_say_what_noise_hides() -> None:
    runs = [run("all", [9.0, 8.0, 10.0]), run("35%", [4.0, 4.2, 4.4], 2**19), run("25%", [4.3, 4.5, 4.7], 2**19)]
    table = result_table(runs, PromptLengths(5), 2, {"here": [9, 3, 2]}, "CPU s")
    cells = [list(column.cells) for column in table.columns]
    assert cells[-2] == ["9.00", "~4.35", "~4.35"]
    assert cells[-1] == ["1.0x", "~2.1x", "~2.1x"]
    assert "not told apart" in result_note(runs, 2, "s")
    assert "not told apart" not in result_note(runs[:2], 2, "s")


def test_a_picture_says_what_was_saved() -> None:
    flops = [8_000_000_000, 2_000_000_000]
    clear = saved([run("all", [4.0], 4 * 2**20), run("35%", [1.0])], 1, flops, "CPU s")
    for part in (
        "75% of the FLOPs (8.0 → 2.0 G)",
        "75% of the KV cache (4.0 → 1.0 MiB)",
        "75% of the time (4.00 → 1.00 CPU s)",
    ):
        assert part in clear
    assert "no time that could be told from noise" in saved([run("all", [4.0]), run("35%", [5.0])], 1, flops, "s")
