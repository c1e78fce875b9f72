"""Benchmarks run, say what they measured, and refuse what is not proven right."""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import decode, gate, measured_tables
from benchmarks.bench_max_min_diversity import torch_fps
from benchmarks.commands import app
from benchmarks.device_work import asked_of_a_gpu
from benchmarks.entry import OURS, SMALL, builders
from benchmarks.growth import sizes
from benchmarks.machine import ROOT, place
from benchmarks.paper_model import primitives
from benchmarks.paper_tables import tables
from benchmarks.results import append, latest
from benchmarks.timing import measure, spread
from benchmarks.whole_prefill import compare
from seats_ops import functional
from seats_ops.measure.memory import peak_bytes

CPU = torch.device("cpu")


def test_every_primitive_and_stage_has_an_entry() -> None:
    assert set(functional.__all__) | {"stage_one", "stage_two"} == set(builders())


@pytest.mark.parametrize("name", builders())
def test_every_entry_says_what_it_compares(name: str) -> None:
    for entry in builders()[name](SMALL, CPU):
        assert entry.name.partition("/")[0] == name
        assert next(iter(entry.sides)) == OURS and len(entry.sides) > 1
        assert entry.num_bytes > 0
        for test in entry.tests:
            assert (ROOT / test).exists()


def test_sides_and_inputs_take_turns() -> None:
    calls: list[str] = []
    inputs = [{name: functools.partial(calls.append, name + number) for name in "ab"} for number in "12"]
    seconds = measure(inputs, CPU, repeats=3)
    assert calls == ["a1", "b1", "a2", "b2", "a1", "b1", "a2", "b2", "a1", "b1"]
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_launches_and_reads_are_those_of_a_device() -> None:
    counts = asked_of_a_gpu(builders()["stage_two"], SMALL)["stage_two/drop"]
    # Scores, budgets, selection, compaction and the sum that says how many tokens stay, which is the one read.
    assert counts[OURS]["launches"] <= 8 and counts[OURS]["host_reads"] == 1
    assert counts["loop over windows"]["launches"] > 5 * counts[OURS]["launches"]
    assert counts["loop over windows"]["host_reads"] > SMALL.seconds // 2


def test_peak_memory_is_that_of_what_is_held_at_once() -> None:
    def in_turns() -> None:
        for _ in range(3):
            torch.zeros(2**18)

    assert peak_bytes(in_turns, CPU) == 2**20
    assert peak_bytes(lambda: [torch.zeros(2**18) for _ in range(3)], CPU) == 3 * 2**20


def test_spread() -> None:
    raw = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert spread(raw) == {"median": 3.0, "p20": pytest.approx(1.8), "p80": pytest.approx(4.2), "raw": raw}
    assert spread([2.0]) == {"median": 2.0, "p20": 2.0, "p80": 2.0, "raw": [2.0]}


def test_results_are_appended_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.primitives.require_green", lambda *_: "green")
    file, picture = tmp_path / "results.jsonl", tmp_path / "picture.png"
    for _ in range(2):
        run = CliRunner().invoke(
            app, ["run", "segment_topk", "--size", "small", "--repeats", "2", "--device", "cpu", "--output", str(file)]
        )
        assert run.exit_code == 0, run.output
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["name"] for row in rows] == ["segment_topk/drop"] * 2
    assert {"device", "versions", "revision", "dirty", "threads", "ceilings", "sides"} <= rows[0].keys()
    assert rows[0]["sides"][OURS].keys() == {
        *("median", "p20", "p80", "raw", "flops_per_s", "bytes_per_s", "peak_bytes", "launches", "host_reads")
    }
    assert len(latest(file)) == 1
    assert CliRunner().invoke(app, ["plot", str(file), str(picture)]).exit_code == 0
    assert picture.stat().st_size > 1000


def test_growth_is_appended_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.growth.require_green", lambda *_: "green")
    file = tmp_path / "growth.jsonl"
    options = ["--longest", "225", "--repeats", "1", "--device", "cpu", "--output", str(file)]
    run = CliRunner().invoke(app, ["growth", "window_budget", *options])
    assert run.exit_code == 0, run.output
    rows = latest(file).values()
    assert {row["axis"]: row["flops"] for row in rows}.keys() == {"tokens", "windows", "batch"}
    assert {row["place"] for row in rows if row["axis"] == "tokens"} == {3000, 11250}
    assert CliRunner().invoke(app, ["plot", str(file)]).exit_code == 0
    assert file.with_suffix(".png").stat().st_size > 1000


def test_growth_reaches_an_hour_of_more_than_100_000_tokens() -> None:
    assert max(place for axis, place, size in sizes(3600) if axis == "tokens" and size.seconds == 3600) > 100_000
    videos = {size.video_tokens for axis, _, size in sizes(3600) if axis == "windows"}
    assert len(videos) == 1


def test_a_whole_prefill_says_what_is_ours() -> None:
    rows = compare(128, 2, 200, CPU, repeats=1)
    assert [row["name"] for row in rows] == ["prefill/35", "prefill/25", "prefill/15", "prefill/10"]
    for row in rows:
        assert 0 < row["own_share_of_prefill"] < row["own_share_of_decoder"] < 1
        assert row["seconds_with_towers"]["median"] > row["seconds"]["median"] > 0
        assert row["own_seconds"].keys() >= {"saliency", "layout and Stage I", "drop after layer 16", "cache"}
        assert row["kv_bytes"] < row["kv_bytes_unpruned"]
        assert row["seconds_layers"] + sum(row["own_seconds"].values()) < row["seconds"]["median"]
        assert row["realised_of_executed"] == pytest.approx(row["speedup"] / row["flops_reduction_executed"])
        executed = row["flops_executed_unpruned"] / row["flops_executed"]
        assert executed == pytest.approx(row["flops_reduction_executed"], rel=1e-6)


def test_decoding_is_timed_on_every_side(monkeypatch: pytest.MonkeyPatch) -> None:
    own_process = decode._in_own_process
    monkeypatch.setattr(decode, "_in_own_process", lambda *arguments: {})
    rows = decode.compare(128, 2, 10, tokens=4, repeats=1)
    assert [row["name"] for row in rows] == ["decode/unpruned", "decode/uniform", "decode/per-layer"]
    assert all(0 < row["seconds_per_token"]["median"] < row["seconds_to_first_token"]["median"] for row in rows)
    memory = own_process(128, 2, 10, "uniform")
    assert 0 < memory["rss_loaded"] <= memory["rss_peak"] >= memory["rss_with_cache"]
    assert 0 < memory["kv_bytes"] <= memory["kv_storage_bytes"]


def test_the_paper_model_counts_what_the_entries_count() -> None:
    """Entries on a CPU have elements of four bytes."""
    model = primitives(SMALL, element=4)
    entries = [entry for build in builders().values() for entry in build(SMALL, CPU) if entry.name in model]
    assert {entry.name: (entry.flops, entry.num_bytes) for entry in entries} == {
        name: (work.flops, work.num_bytes) for name, work in model.items()
    }
    assert {name.partition("/")[0] for name in model} == set(functional.__all__)


def test_the_page_shows_what_the_paper_model_says() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- paper tables -->")[2].partition("<!-- end of paper tables -->")[0]
    assert shown.strip() == tables()


def test_the_page_shows_what_was_measured() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for heading, table in measured_tables.tables().items():
        assert f"\n{table}\n" in page.partition(f"### {heading}\n")[2].partition("\n### ")[0]


def test_torch_fps_picks_what_we_pick() -> None:
    pytest.importorskip("torch_fps")
    features = torch.randn(3, 40, 16, generator=torch.Generator().manual_seed(0))
    keep = functional.max_min_diversity(features.flatten(0, 1), torch.tensor([0, 40, 80, 120]), torch.full((3,), 9))
    sphere = torch.nn.functional.normalize(features, dim=-1)
    first = (1 - sphere @ sphere.mT).topk(2, dim=1, largest=False).values[:, 1].argmax(1)
    peer = torch_fps(features, 9, first)
    assert peer is not None
    assert [sorted(row) for row in peer().tolist()] == [row.nonzero().squeeze(1).tolist() for row in keep.view(3, 40)]


def test_without_a_command_everything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr("benchmarks.commands.run", lambda: done.append("run"))
    monkeypatch.setattr("benchmarks.whole_model.prefill", lambda: done.append("prefill"))
    assert CliRunner().invoke(app, []).exit_code == 0
    assert done == ["run", "prefill"]


def test_rows_of_other_machines_and_sizes_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    for device, size, number in (("a", "paper", 1), ("b", "paper", 2), ("a", "small", 3), ("a", "paper", 4)):
        append(file, {"name": "x", "device": device, "size": size, "number": number})
    append(file, {"name": "y", "device": "a", "size": "paper", "number": 5})
    assert {name: row["number"] for name, row in latest(file).items()} == {"x": 4, "y": 5}


def test_time_in_the_interpreter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(RuntimeError, match="TRITON_INTERPRET"):
        place("cuda")


def test_without_the_tools_for_tests_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pytest" else real(name))
    said = gate.require_green(("tests/never_run.py",), "cpu")
    assert said.startswith("not run: no pytest (pip install")


def test_why_tests_do_not_run_is_said() -> None:
    with pytest.raises(gate.RedTests, match="no_such_test"):
        gate.require_green(("tests/no_such_test.py",), "cpu")


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (["run", "compat"], "attention_received, compact, "),
        (["run", "compact", "--size", "huge"], "tiny, small, paper, ten_minutes, hour"),
        (["growth", "stage_one"], "window_budget"),
        (["decode", "--retention", "11"], "35, 25, 15, 10"),
    ],
)
def test_what_nobody_knows_is_an_error_that_lists_the_known(arguments: list[str], known: str) -> None:
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 2
    assert known in " ".join(run.output.replace("│", " ").split())


def test_red_tests_forbid_timing(tmp_path: Path) -> None:
    red = tmp_path / "test_red.py"
    red.write_text("def test_red():\n    assert False\n")
    with pytest.raises(gate.RedTests, match="test_red"):
        gate.require_green((str(red),), "cpu")
