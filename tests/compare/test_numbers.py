"""A comparison's numbers from answers and logits, its means, and the file they are written to."""

from __future__ import annotations

import errno
import json
import math
import os
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seats_ops.compare import Agreement, of_prompts
from seats_ops.compare.answers import Answer, agreement
from seats_ops.compare.folder import file_name
from seats_ops.compare.journal import Journal
from seats_ops.compare.overall import differences, mean_of, overall, worst_first
from tests.compare.example_records import record

SETTINGS = {"schedules": {"ten": [1, 2]}, "repeats": 2}


def answered(*tokens: int, logits: list[list[float]] | None = None) -> Answer:
    return Answer(tokens, torch.zeros(len(tokens), 3) if logits is None else torch.tensor(logits))


def test_how_far_two_answers_agree() -> None:
    full, pruned = answered(5, 6, 7, 8), answered(5, 6, 9, 8, 1)
    found = agreement(full, pruned, answered(5, 6, 7, 8))
    # Places 0, 1 and 3 of five; the first that differs is place 2.
    assert (found.tokens, found.first_token, found.common_prefix) == (3 / 5, True, 2)
    assert agreement(full, answered(1), full).first_token is False


def test_kl_is_that_of_the_textbook() -> None:
    p, q = [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]
    full = answered(0, 1, logits=[[math.log(x) for x in p], [0.0, 0.0, 1.0]])
    along = answered(0, 1, logits=[[math.log(x) + 3 for x in q], [0.0, 0.0, 1.0]])
    found = agreement(full, full, along)
    assert found.kl[0] == pytest.approx(0.5 * math.log(2) + 0.25 * math.log(0.5), abs=1e-6)
    assert found.kl[1] == 0.0
    assert found.top1 == 0.5  # at the first place q's likeliest is the last token, p's the first
    assert found.mean_kl == pytest.approx(found.kl[0] / 2)


def test_tokens_that_cannot_be_add_nothing_to_kl() -> None:
    full = answered(0, logits=[[0.0, 0.0, -math.inf]])
    assert agreement(full, full, answered(0, logits=[[0.0, 0.0, -math.inf]])).kl == (0.0,)


def test_logits_along_another_answer_are_refused() -> None:
    with pytest.raises(ValueError, match=r"along: expected the tokens of full, \(1, 2\), got \(1, 3\)"):
        agreement(answered(1, 2), answered(1, 2), answered(1, 3))


def test_shares_are_of_the_same_prompts_run_with_all_tokens() -> None:
    records = [record("a", flops=100), record("b", flops=300)]
    assert of_prompts(records, "ten", "flops") == [0.1, 0.3]
    assert of_prompts(records, "ten", "prefill_seconds") == [0.5, 0.5]  # medians: 1 of 2
    assert of_prompts(records, "five", "kl") == pytest.approx([0.2, 0.2])
    means = overall(records, ["ten", "five"])
    assert list(means) == ["ten", "five"]
    assert means["ten"]["flops"].value == pytest.approx(0.2)
    assert means["ten"]["flops"].low is None  # two prompts say nothing about how they vary
    assert differences(records, ["ten", "five"])["five"]["flops"].value == pytest.approx(-0.1)
    assert list(differences(records, ["ten", "five"])) == ["five"]


def test_the_worst_come_first() -> None:
    assert [r.name for r in worst_first([record("a", 0.2), record("b", 0.9), record("c", 0.4)])] == ["b", "c", "a"]


def test_nothing_was_compared() -> None:
    assert overall([], []) == {} and differences([], []) == {}


@given(st.lists(st.floats(-5, 5), min_size=5, max_size=40))
def test_an_interval_holds_the_mean_and_lies_among_the_values(values: list[float]) -> None:
    found = mean_of(values)
    assert found.low is not None and found.high is not None
    assert min(values) - 1e-9 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= max(values) + 1e-9
    assert mean_of(values) == found


def test_an_interval_is_about_as_wide_as_theory_says() -> None:
    # The mean of n values of standard deviation s has one of s / sqrt(n); 95 % lie within 1.96 of them.
    values = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
    found = mean_of(values)
    assert found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * statistics.stdev(values) / 20, rel=0.1)


def test_what_is_written_down_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    journal = Journal(path, SETTINGS)
    journal.add(record("a"))
    journal.add(record("b", error="damaged"))
    journal.add(record("b", kl=0.7))
    found = Journal(path, SETTINGS).records
    assert list(found) == ["a", "b"]
    assert json.loads(json.dumps(found["a"].to_dict())) == json.loads(json.dumps(record("a").to_dict()))
    assert found["a"].runs == record("a").runs
    assert found["b"].error is None and found["b"].runs[1].agreement == Agreement(0.5, True, 1, (0.7, 0.7), 1.0)


def test_a_line_that_was_cut_off_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    Journal(path, SETTINGS).add(record("a"))
    with path.open("a") as file:
        file.write('{"name": "b", "ru')
    journal = Journal(path, SETTINGS)
    assert list(journal.records) == ["a"]
    journal.add(record("c"))
    assert list(Journal(path, SETTINGS).records) == ["a", "c"]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    Journal(path, SETTINGS)
    with pytest.raises(ValueError, match=r"expected a comparison with the same settings, got .* repeats 2, now 3"):
        Journal(path, {**SETTINGS, "repeats": 3})
    with pytest.raises(ValueError, match=r"fps null, now 1"):
        Journal(path, {**SETTINGS, "fps": 1})


def test_a_first_line_that_was_cut_off_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    Journal(path, SETTINGS)
    whole = path.read_text()
    path.write_text(whole[:20])
    Journal(path, SETTINGS)
    assert path.read_text() == whole


@pytest.mark.parametrize("text", ["hello", "hello\n", "[]\n", '{"format": 7}\n', '{"format": 1}\n{"who": 1}\n', "{}\n"])
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"prompts\.jsonl: expected an earlier comparison, got another file"):
        Journal(path, {})
    assert path.read_text() == text


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prompts.jsonl"
    journal = Journal(path, SETTINGS)
    journal.add(record("a"))
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        journal.add(record("b"))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["clip", "a-b_3"])
def test_a_plain_name_is_a_file_of_that_name(name: str) -> None:
    assert file_name(name) == name


def test_other_names_stay_apart_and_inside_the_folder() -> None:
    names: list[Any] = ["../../etc", "a/b", "a b", "a-b", "SEATS 10%", "SEATS 10", "é", "", "x" * 300]
    found = [file_name(name) for name in names]
    assert len(set(found)) == len(names)
    assert all(name and "/" not in name and "." not in name and len(name) < 80 for name in found)
