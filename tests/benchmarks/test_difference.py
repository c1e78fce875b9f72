"""What two sets of measurements must have in common to be compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.commands import app
from benchmarks.report.difference import differences
from benchmarks.results import append
from benchmarks.timing import spread

SECONDS = [1.0, 1.01, 0.99, 1.0, 1.02]


def file_of(path: Path, *changes: dict[str, Any], **common: Any) -> str:
    row = {"name": "compact/drop", "kind": "cuda", "threads": 16, "revision": "aaa", "sources": "s"}
    for changed in changes or ({},):
        append(path, {**row, "sides": {"seats_ops": spread(SECONDS)}, **common, **changed})
    return str(path)


def test_threads_of_the_host_count_on_a_cpu_only(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    (found,) = differences(file_of(tmp_path / "a", threads=16), file_of(tmp_path / "b", threads=64))
    assert found.before == found.after == 1.0
    with pytest.raises(ValueError, match=r"threads: found \[1\] in .* and \[4\] in .*, expected the same"):
        differences(file_of(tmp_path / "c", threads=1, kind="cpu"), file_of(tmp_path / "d", threads=4, kind="cpu"))


def test_without_scipy_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(RuntimeError, match=r"scipy: found none, .*pip install 'seats_ops\[bench\]'"):
        differences(file_of(tmp_path / "a"), file_of(tmp_path / "b"))


def test_rows_without_a_machine_are_refused(tmp_path: Path) -> None:
    append(tmp_path / "a", {"name": "compact/drop", "seconds": spread(SECONDS)})
    with pytest.raises(ValueError, match="row compact/drop: expected kind, threads, found no kind, threads"):
        differences(str(tmp_path / "a"), file_of(tmp_path / "b"))


def test_a_slow_moment_of_the_machine_slows_both(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    slow = [2 * each for each in SECONDS]
    quick = file_of(tmp_path / "a", {"sides": {"seats_ops": spread(SECONDS), "a loop": spread(SECONDS)}})
    both = file_of(tmp_path / "b", {"sides": {"seats_ops": spread(slow), "a loop": spread(slow)}})
    ours = file_of(tmp_path / "c", {"sides": {"seats_ops": spread(slow), "a loop": spread(SECONDS)}})
    assert not any(each.slower(1.05) for each in differences(quick, both))
    found = next(each for each in differences(quick, ours) if each.ours)
    assert found.slower(1.05) and found.low == pytest.approx(2, rel=0.05)


def test_too_few_measurements_are_said(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    few = file_of(tmp_path / "a", {"sides": {"seats_ops": spread(SECONDS[:3])}})
    run = CliRunner().invoke(app, ["compare", few, few])
    assert run.exit_code == 3
    assert "1 of 1 timings of ours were not judged: fewer than 5 measurements on a side" in run.output


@pytest.mark.parametrize(("name", "revision"), [("a@b.jsonl", ""), ("a@b.jsonl", "@aaa"), ("c.jsonl", "@aaa")])
def test_a_name_may_have_an_at(name: str, revision: str, tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    file = file_of(tmp_path / name)
    assert len(differences(file + revision, file)) == 1


def test_launch_tables_are_not_put_together(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a", {"tiles": "shipped"}, {"tiles": "mine.json 0123"})
    with pytest.raises(ValueError, match=r"launch tables at revision aaa \(mine.json 0123, shipped\), expected one"):
        differences(file, file)


def test_changed_sources_of_one_revision_are_not_put_together(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a", {"sources": "s"}, {"sources": "t", "dirty": True})
    with pytest.raises(ValueError, match=r"several states of the sources at revision aaa \(s, t\), expected one"):
        differences(file, file)
