"""Pages and comparisons of results."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.commands import app
from benchmarks.entry import OURS
from benchmarks.gpu.record import DONE, FILE, Record
from benchmarks.paper_model import GPUS
from benchmarks.report.breakdown import parts, parts_unpruned
from benchmarks.report.difference import differences
from benchmarks.report.page import PAGE, write
from benchmarks.report.sent_in import NOBODY, sent_in
from benchmarks.results import RESULTS, append, latest, read
from benchmarks.timing import spread

ROW = {
    **{"device": "X", "kind": "cpu", "threads": 1, "cores": 2, "revision": "aaa", "sources": "s", "dirty": False},
    **{"time": "2030-01-01T00:00:00+00:00", "versions": {"torch": "9"}, "rehearsed": False},
}


def timed(**sides: list[float]) -> dict[str, Any]:
    """A row of `run`."""
    names = {"ours": OURS, "other": "a loop"}
    each = {names[name]: {**spread(raw), "peak_bytes": 2**20} for name, raw in sides.items()}
    ceilings = {"bytes_per_s": 1e9, "flops_per_s": 1e12}
    work = {"flops": 10**9, "bytes": 10**6, "ceilings": ceilings, "clock": "process time", "size": "paper"}
    return {**ROW, **work, "name": "compact/drop", "sides": each}


def outcome(*rows: dict[str, Any]) -> dict[str, Any]:
    """What a worker says of a step that gave these."""
    return {"rows": list(rows), "status": DONE, "error": None, "took": 1.0}


def file_of(folder: Path, name: str, *rows: dict[str, Any]) -> str:
    append(folder / name, *rows)
    return str(folder / name)


@pytest.mark.parametrize("name", ["primitives", "prefill", "decode", "growth"])
def test_every_file_of_results_has_a_page(name: str, tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["report", str(RESULTS / f"{name}.jsonl"), "--output", str(tmp_path)])
    assert run.exit_code == 0, run.exception
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"primitives": {"roofline.png"}, "prefill": {"breakdown.png"}}.get(name, set())
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert page.startswith("# seats_ops on AMD EPYC\n")
    assert all(f"({picture})" in page for picture in pictures)
    heading = {
        "primitives": "Primitives and stages",
        "prefill": "Whole prefill",
        "growth": "Growth",
        "decode": "Decoding",
    }
    assert f"\n## {heading[name]}" in page
    # Rows of several revisions are all named.
    assert ("8d88333" in page and "2c6f461" in page) or name != "primitives"


def test_a_page_shows_what_a_row_says(tmp_path: Path) -> None:
    h100 = next(gpu for gpu in GPUS if gpu.name == "H100 SXM")
    row = {**timed(ours=[2e-3], other=[4e-3]), "device": h100.known_as}
    row["sides"][OURS] |= {"caller": spread([5e-3]), "kernel": spread([2e-3]), "kernel_clock": "graph, cold L2"}
    row["sides"][OURS] |= {"launches": 3, "host_reads": 0, "capture": "captured, same result"}
    append(tmp_path / FILE, row)
    page = write(tmp_path).read_text(encoding="utf-8")
    cells = next(line.split(" | ") for line in page.splitlines() if line.startswith("| `compact/drop` | ours"))
    # A caller's time, the kernels', their clock, the shares of the ceilings.
    assert [*cells[2:5], *cells[6:8]] == ["5", "2", "graph, cold L2", "50.0%", "50.0%"]
    # 122 MB at 3.35 TB/s.
    assert float(cells[5]) == pytest.approx(122 / 3.35e3, rel=0.01)
    assert cells[8:11] == ["3", "0", "captured, same result"]


def test_parts_of_a_prefill_add_up() -> None:
    row = read(RESULTS / "prefill.jsonl")[-1]
    for found, whole in ((parts(row), "seconds_with_towers"), (parts_unpruned(row), "seconds_with_towers_unpruned")):
        assert sum(found.values()) == pytest.approx(1e3 * row[whole]["median"], rel=0.05)


def test_nothing_to_show_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found no .*results\.jsonl, expected a file of results or a folder"):
        write(tmp_path)
    (tmp_path / FILE).write_text("")
    with pytest.raises(ValueError, match="found no rows"):
        write(tmp_path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"name": "x"}, "row x: expected device, found no device"),
        ({"name": "x", "device": "X", "time": "t"}, "row x: expected time, versions, cores, threads, found no vers"),
        ({**ROW, "name": "prefill/10"}, "found a row without 'width', expected rows as `benchmarks` writes them"),
    ],
)
def test_rows_of_somebody_else_are_refused(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    append(tmp_path / FILE, row)
    with pytest.raises(ValueError, match=re.escape(said)):
        write(tmp_path)


@pytest.mark.parametrize("number", [0, 3, "2", None])
def test_rows_of_another_format_are_refused(number: object, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({**ROW, "name": "x", "format": number}))
    with pytest.raises(ValueError, match=rf"line 1: expected format 1 or 2, got {number!r}"):
        read(tmp_path / FILE)


def test_what_was_not_as_expected_is_said_of_every_row(tmp_path: Path) -> None:
    append(tmp_path / FILE, {**timed(ours=[1.0], other=[1.0]), "anyway": ["device: busy"]}, {**ROW, "name": "x"})
    assert "| not as expected | device: busy |" in write(tmp_path).read_text(encoding="utf-8")


def test_what_is_sent_in_is_shown_beside_the_paper(tmp_path: Path) -> None:
    assert sent_in(tmp_path).endswith(NOBODY) and "935 -> 215" in sent_in(tmp_path)
    times = {"seconds_with_towers": 0.1, "seconds_with_towers_unpruned": 0.5, "seconds": 0.05, "seconds_unpruned": 0.4}
    times |= {"seconds_towers": 0.03, "seconds_towers_unpruned": 0.04}
    prefill = {name: spread([seconds]) for name, seconds in times.items()}
    row = {**prefill, "name": "prefill/10", "width": 3584}
    here = {**ROW, "device": "NVIDIA H100 80GB HBM3"}
    record = Record(tmp_path / "gpu-h100")
    record.add(here, "tests/stages", outcome({"name": "tests/stages", "passed": 3, "failed": 0}))
    record.add(here, "prefill/10", outcome(row))
    cells = sent_in(tmp_path).splitlines()[-1].strip("| ").split(" | ")
    assert cells[1:7] == ["aaa", "green", "3584", "500 -> 100", "40 -> 30", "400 -> 50"]
    # As the table of the page has them.
    assert [round(float(number)) for number in cells[7].split(" -> ")] == [206, 24]
    append(tmp_path / "gpu-h100" / FILE, {**here, **row, "rehearsed": True})
    with pytest.raises(ValueError, match="found a rehearsal"):
        sent_in(tmp_path)


@pytest.mark.parametrize(
    ("files", "said"),
    [({}, "not run"), ({"a": (3, 0), "b": (2, 1)}, "red: 1 failed"), ({"a": (3, 0), "b": (2, 0)}, "green")],
)
def test_what_is_sent_in_says_what_its_tests_said(files: dict[str, Any], said: str, tmp_path: Path) -> None:
    record = Record(tmp_path / "gpu-x")
    for name, (passed, failed) in files.items():
        row = {"name": f"tests/{name}", "passed": passed, "failed": failed}
        record.add(ROW, f"tests/{name}", outcome(row))
    record.add(ROW, "device/description", outcome({"name": "device"}))
    assert sent_in(tmp_path).splitlines()[-1].strip("| ").split(" | ")[2] == said


FAST, SLOW = [1.00, 1.01, 0.99, 1.00, 1.02, 0.98], [1.20, 1.21, 1.19, 1.22, 1.18, 1.20]


def test_something_slower_is_told_from_noise(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    a = file_of(tmp_path, "a.jsonl", timed(ours=FAST, other=FAST))
    slower = file_of(tmp_path, "b.jsonl", timed(ours=SLOW, other=FAST))
    others = file_of(tmp_path, "c.jsonl", timed(ours=FAST, other=SLOW))
    noisy = file_of(tmp_path, "d.jsonl", timed(ours=[0.7, 1.9, 1.2, 0.8, 1.4, 1.1], other=FAST))
    (found,) = [each for each in differences(a, slower) if each.ours]
    assert found.low is not None and found.high is not None
    assert 1.15 < found.low < found.after / found.before < found.high < 1.25
    for after, code in ((slower, 1), (others, 0), (noisy, 0), (a, 0)):
        run = CliRunner().invoke(app, ["compare", a, after])
        assert run.exit_code == code, (after, run.output)
        assert ("SLOWER" in run.output) == (code == 1)
    assert CliRunner().invoke(app, ["compare", a, slower, "--threshold", "1.3"]).exit_code == 0
    assert "faster" in CliRunner().invoke(app, ["compare", slower, a]).output


def test_too_few_measurements_judge_nobody(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    a = file_of(tmp_path, "a.jsonl", timed(ours=FAST[:3]))
    b = file_of(tmp_path, "b.jsonl", timed(ours=SLOW[:3]))
    run = CliRunner().invoke(app, ["compare", a, b])
    assert run.exit_code == 3 and "too few" in run.output
    # A second run of each makes enough.
    for name, raw in (("a.jsonl", FAST), ("b.jsonl", SLOW)):
        file_of(tmp_path, name, timed(ours=raw[3:]))
    assert CliRunner().invoke(app, ["compare", a, b]).exit_code == 1


def test_revisions_of_one_file_are_told_apart(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    both = file_of(tmp_path, "a.jsonl", timed(ours=FAST), {**timed(ours=SLOW), "revision": "bbb"})
    assert CliRunner().invoke(app, ["compare", f"{both}@aaa", both]).exit_code == 1
    with pytest.raises(ValueError, match="found no rows of revision 'ccc', expected one of aaa, bbb"):
        differences(f"{both}@ccc", both)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rehearsed": True}, "found a rehearsal, expected measurements"),
        ({"threads": 4}, r"threads: found \[1\] in .* and \[4\] in .*, expected the same"),
        ({"kind": "cuda"}, "found no row in both"),
        ({"clock": "events, cold L2"}, "found no row in both"),
        ({"size": "small"}, "found no row in both"),
    ],
)
def test_what_cannot_be_compared_is_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    a = file_of(tmp_path, "a.jsonl", timed(ours=FAST))
    b = file_of(tmp_path, "b.jsonl", {**copy.deepcopy(timed(ours=FAST)), **changed})
    with pytest.raises(ValueError, match=said):
        differences(a, b)


def test_old_rows_are_refused_by_name(tmp_path: Path) -> None:
    old = tmp_path / "old.jsonl"
    old.write_text(json.dumps(timed(ours=FAST)) + "\n")
    with pytest.raises(ValueError, match=r"without single measurements \(compact/drop\), expected format 2; run them"):
        differences(str(old), str(old))
    assert latest(old)["compact/drop"]["threads"] == 1


def test_every_timing_is_found_however_deep() -> None:
    from benchmarks.results import timings

    row = timed(ours=[1.0], other=[2.0]) | {"seconds": spread([3.0])}
    row["sides"][OURS]["kernel"] = spread([4.0])
    assert dict(timings(row)) == {
        ("sides", OURS): [1.0],
        ("sides", OURS, "kernel"): [4.0],
        ("sides", "a loop"): [2.0],
        ("seconds",): [3.0],
    }
