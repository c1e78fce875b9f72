"""Tuning: nothing wrong is timed, nothing measured is lost or mixed up, and a rehearsal is no table."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from benchmarks import machine
from benchmarks.commands import app
from benchmarks.gpu.strict_cuda import CURRENT, NAME, strict_cuda
from benchmarks.tune import variants
from benchmarks.tune.cases import KERNELS, Case, entries
from benchmarks.tune.sweep import GAIN, Broken, best, sweep, values_of
from benchmarks.tune.table import TableFile
from seats_ops import functional as F
from seats_ops.ops.launch import launch
from seats_ops.ops.tile_grid import candidates, changed
from seats_ops.ops.tile_tables import read, table_of, tiles
from seats_ops.ops.tiles import DEFAULT

ROOT = Path(__file__).parents[2]
ENTRY, OWN = "kept_index", values_of("kept_index", DEFAULT["kept_index"])
POINTS = [values_of(ENTRY, tile) for tile in candidates(ENTRY, DEFAULT[ENTRY])]
CPU, CUDA = torch.device("cpu"), torch.device("cuda", CURRENT)


def seconds(median: float) -> dict[str, float]:
    return {"median": median, "p20": median, "p80": median}


class Kernel:
    """Writes the block size that it was launched with, and fails, spills or is wrong where it is told to."""

    def __init__(self, **faults: Any) -> None:
        self.fn = SimpleNamespace(__name__="kept_index_kernel")
        self.faults = faults

    def __getitem__(self, grid: object) -> Callable[..., object]:
        def run(out: Tensor, *, BLOCK: int, BLOCK_COUNT: int, num_warps: int, **_: object) -> object:
            if self.faults.get("raises") == BLOCK:
                raise RuntimeError("out of resources: shared memory\nand more")
            out.fill_(BLOCK if self.faults.get("wrong") == BLOCK else 0)
            return SimpleNamespace(n_spills=8 if self.faults.get("spills") == BLOCK else 0)

        return run


def case(kernel: Kernel) -> Case:
    def run() -> Tensor:
        out = torch.empty(3, dtype=torch.int64, device="cpu")
        launch(kernel, (1,), out, **tiles(CPU)[ENTRY].options)
        return out

    return Case(ENTRY, ("kept_index_kernel",), run, lambda result: "wrong" if bool(result.any()) else "")


@pytest.fixture
def gpu() -> Iterator[None]:
    with mock.patch("benchmarks.timing.FLUSH_BYTES", 2**12), strict_cuda():
        yield


def swept(kernel: Kernel, known: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    return list(sweep(case(kernel), DEFAULT, CUDA, 3, known or [], lambda row: None))


def test_every_entry_belongs_to_a_primitive_and_its_kernels_exist() -> None:
    found = [entry for primitive in KERNELS for entry in entries(primitive)]
    assert sorted(found) == sorted(DEFAULT) and set(KERNELS) == set(F.__all__)
    for primitive, kernels in KERNELS.items():
        modules = [importlib.import_module(f"seats_ops.ops.{primitive}.triton")]
        if primitive == "max_min_diversity":
            modules.append(importlib.import_module(f"seats_ops.ops.{primitive}.large"))
        names = {name for module in modules for name in vars(module)}
        assert {name for group in kernels.values() for name in group} <= names


def test_every_candidate_has_a_row(gpu: None) -> None:
    rows = swept(Kernel())
    assert [row["values"] for row in rows] == POINTS and rows[0]["values"] == OWN
    # What the events of the stand-in say.
    assert all(row["seconds"]["median"] == pytest.approx(1.5e-3) for row in rows)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("wrong", "wrong"),
        ("spills", "spills 8 registers a thread"),
        ("raises", "RuntimeError: out of resources: shared memory"),
    ],
)
def test_bad_candidates_are_refused_with_the_reason(fault: str, words: str, gpu: None) -> None:
    rows = swept(Kernel(**{fault: 2048}))
    assert {row["values"]["BLOCK"] for row in rows if "refused" in row} == {2048}
    assert {row["refused"] for row in rows if "refused" in row} == {words}
    assert all("seconds" not in row for row in rows if "refused" in row)


def test_what_is_known_is_not_measured_again(gpu: None) -> None:
    known: list[dict[str, Any]] = [{"values": POINTS[0], "seconds": seconds(1.0)}, {"values": POINTS[3], "refused": ""}]
    assert [row["values"] for row in swept(Kernel(), known)] == [p for i, p in enumerate(POINTS) if i not in (0, 3)]


def test_a_broken_device_ends_the_sweep_and_names_the_candidate(gpu: None) -> None:
    broken = mock.patch("torch.cuda.synchronize", side_effect=RuntimeError("CUDA error: an illegal memory access"))
    with broken, pytest.raises(Broken, match=r"the device failed under .*512") as raised:
        swept(Kernel(raises=512))
    assert raised.value.row["values"]["BLOCK"] == 512 and "out of resources" in raised.value.row["refused"]


def test_another_candidate_must_gain_more_than_noise() -> None:
    def rows(other: float) -> list[dict[str, Any]]:
        refused = {"values": POINTS[2], "refused": "spills"}
        return [{"values": p, "seconds": seconds(s)} for p, s in ((OWN, 1.0), (POINTS[1], other))] + [refused]

    assert best(rows(1.0 - 1.1 * GAIN), OWN) == POINTS[1]
    assert best(rows(1.0 - 0.9 * GAIN), OWN) == OWN
    assert best([], OWN) == best([{"values": OWN, "refused": ""}], OWN) == OWN
    # Where the shipped values do not run, any that do are better.
    assert best(rows(9.0)[1:], OWN) == POINTS[1]


def test_a_file_is_followed_where_it_was_made(gpu: None, tmp_path: Path) -> None:
    file = TableFile(tmp_path / "t.json", CUDA, rehearsed=False)
    for values, taken in ((OWN, 1.0), (POINTS[5], 0.5)):
        file.add(ENTRY, {"values": values, "seconds": seconds(taken)})
    assert file.settle(ENTRY, OWN) == POINTS[5]
    table = read(tmp_path / "t.json", "sm_90", NAME)
    assert values_of(ENTRY, table[ENTRY]) == POINTS[5]
    assert {entry for entry in table if table[entry] != table_of("sm_90")[entry]} == {ENTRY}


def test_a_file_goes_on_where_it_was_left_and_nowhere_else(
    gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.json"
    TableFile(path, CUDA, rehearsed=False).add(ENTRY, {"values": OWN, "refused": "no"})
    assert TableFile(path, CUDA, rehearsed=False).rows(ENTRY) == [{"values": OWN, "refused": "no"}]
    with pytest.raises(
        ValueError, match=r"t\.json: measured under other conditions.*rehearsed: found False, exp.*True"
    ):
        TableFile(path, CUDA, rehearsed=True)
    describe = machine.describe
    monkeypatch.setattr(machine, "describe", lambda device: describe(device) | {"revision": "abc", "device": "H200"})
    with pytest.raises(ValueError, match=r"device: found .*, expected .*H200.*; revision: found .*, expected 'abc'"):
        TableFile(path, CUDA, rehearsed=False)
    assert json.loads(path.read_text())["measured"] == {ENTRY: [{"values": OWN, "refused": "no"}]}


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_file_of_something_else_is_left_alone(content: str, gpu: None, tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"notes\.json: expected a file of `benchmarks tune`, got "):
        TableFile(path, CUDA, rehearsed=False)
    assert path.read_text() == content


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["tune", *arguments])
    assert result.exit_code != 0
    return " ".join((str(result.exception) if result.exit_code == 1 else result.output).split())


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "got topk, expected one of attention_received" in said("topk").replace("│ ", "")
    assert said("compact") == "device: found none, expected cuda; --rehearse walks the same way on a CPU"
    assert said("--rehearse") == "TRITON_INTERPRET: expected 1 for a rehearsal, got nothing"


@pytest.mark.parametrize(
    ("free", "words"), [(70, "10.0 GiB in use by others, expected an idle one"), (3, "3.0 of 80 GiB free, expected")]
)
def test_a_busy_or_full_device_is_refused(free: int, words: str, gpu: None, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    with mock.patch("torch.cuda.mem_get_info", lambda device: (free * 2**30, 80 * 2**30)):
        refused = said("compact", "--output", str(path))
        assert words in refused and "--anyway measures all the same" in refused
    assert not path.exists()


def rehearse(path: Path, *names: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "tune",
        *names,
        "--rehearse",
        "--repeats",
        "1",
        "--output",
        str(path),
    ]
    variables = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "400", **environment}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300)


def test_a_rehearsal_walks_the_whole_way_and_is_no_table(tmp_path: Path) -> None:
    path, names = tmp_path / "t.json", ("head_mean", "gather", "window_budget/16", "step")
    first = rehearse(path, *names)
    assert first.returncode == 0, first.stdout + first.stderr
    content = json.loads(path.read_text())
    assert set(content["measured"]) == set(names)
    assert all(len(rows) == 3 and all("seconds" in row for row in rows) for rows in content["measured"].values())
    assert content["made_with"]["versions"]["triton"] and content["device"]["kind"] == "interpreter"
    with pytest.raises(RuntimeError, match="expected rehearsed: false, got True"):
        read(path, **content["device"])
    # Again: nothing is left to measure, and what was is still there.
    again = rehearse(path, *names)
    assert again.returncode == 0 and "us" not in again.stdout.replace("wrote", "").split(), again.stdout + again.stderr
    assert json.loads(path.read_text())["measured"] == content["measured"]


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing")
@pytest.mark.parametrize(
    ("entry", "values", "said"),
    [
        # bfloat16 is timed; float16 is launched with the same entry.
        ("gram/16bit", {"BLOCK": 128, "BLOCK_CHANNELS": 64, "num_stages": 4}, r"gram_\w+/sm_86/\w+: .* expected"),
        ("kept_index", {"BLOCK": 512}, ""),
        ("kept_index", {}, ""),
    ],
)
def test_every_way_to_launch_an_entry_must_fit(
    entry: str, values: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "device_kind", lambda device: "sm_86")
    table = table_of("sm_86")
    assert re.fullmatch(said, variants.fault(entry, changed(table[entry], values), table, CUDA))
    assert variants.fault(entry, changed(table[entry], values), table, CPU) == ""


def test_what_does_not_fit_every_launch_is_not_settled_on(
    tmp_path: Path, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, file = tmp_path / "t.json", TableFile(tmp_path / "t.json", CUDA, rehearsed=False)
    for place, values in enumerate(POINTS):
        file.add(ENTRY, {"values": values, "seconds": seconds(1.0 - 0.1 * min(place, 2))})
    bad = POINTS[2]
    monkeypatch.setattr(variants, "fault", lambda entry, tile, *_: "spills" if values_of(entry, tile) == bad else "")
    monkeypatch.setattr("benchmarks.tune.command.sweep", lambda *_: iter(()))
    monkeypatch.setattr("benchmarks.tune.command.case_of", lambda *_, **__: None)
    done = CliRunner().invoke(app, ["tune", ENTRY, "--output", str(path), "--repeats", "1"])
    assert done.exit_code == 0, done.output or done.exception
    content = json.loads(path.read_text())
    assert content["tiles"][ENTRY] == POINTS[3]
    assert {"values": bad, "refused": "spills"} in content["measured"][ENTRY]


def test_what_the_process_does_not_outlive_is_tried_twice(gpu: None, tmp_path: Path) -> None:
    path, third = tmp_path / "t.json", POINTS[2]

    class Died(BaseException):
        """Nothing runs after a process has died."""

    def run() -> list[dict[str, int]]:
        file, tried = TableFile(path, CUDA, rehearsed=False), []

        def begin(row: dict[str, Any]) -> None:
            file.begin(ENTRY, row)
            tried.append(row["values"])
            if row["values"] == third:
                raise Died

        try:
            for row in sweep(case(Kernel()), DEFAULT, CUDA, 3, file.rows(ENTRY), begin):
                file.add(ENTRY, row)
        except Died:
            pass
        return tried

    assert run() == POINTS[:3]
    assert run() == [third]
    assert run() == POINTS[3:]
    rows = {str(row["values"]): row for row in TableFile(path, CUDA, rehearsed=False).rows(ENTRY)}
    assert len(rows) == len(POINTS) and "process ended" in rows[str(third)]["refused"]


@pytest.mark.parametrize("missing", ["tiles", "measured", "made_with"])
def test_half_a_file_is_refused(missing: str, gpu: None, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    TableFile(path, CUDA, rehearsed=False).add(ENTRY, {"values": POINTS[0], "seconds": seconds(1.0)})
    content = json.loads(path.read_text())
    del content[missing]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"expected a file of `benchmarks tune`, got KeyError.*{missing}"):
        TableFile(path, CUDA, rehearsed=False)


@pytest.mark.parametrize("begun", [0, 1])
def test_what_is_interrupted_counts_as_not_tried(begun: int, gpu: None, tmp_path: Path) -> None:
    """Also a second try: Control-C does not refuse a candidate for good."""
    path = tmp_path / "t.json"
    for _ in range(begun):
        TableFile(path, CUDA, rehearsed=False).begin(ENTRY, {"values": POINTS[2]})
    file = TableFile(path, CUDA, rehearsed=False)
    file.add(ENTRY, {"values": POINTS[0], "seconds": seconds(1.0)})
    file.begin(ENTRY, {"values": POINTS[2]})
    file.withdraw()
    measured = json.loads(path.read_text())["measured"][ENTRY]
    assert [row.get("begun") for row in measured] == [None, *[1] * begun]
    assert [row["values"] for row in TableFile(path, CUDA, rehearsed=False).rows(ENTRY)] == [POINTS[0]]


def test_an_interrupted_run_is_taken_up(tmp_path: Path, gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control-C while the third candidate is timed; then the same command to its end."""
    path, kernel = tmp_path / "t.json", Kernel()
    monkeypatch.setattr("benchmarks.tune.command.case_of", lambda entry, place, small: case(kernel))
    interrupts: list[int] = []
    measure = importlib.import_module("benchmarks.tune.sweep").measure

    def interrupted(*arguments: Any) -> Any:
        interrupts.append(1)
        if len(interrupts) == 3:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr("benchmarks.tune.sweep.measure", interrupted)
    stopped = CliRunner().invoke(app, ["tune", ENTRY, "--output", str(path), "--repeats", "1"])
    assert stopped.exit_code == 130 and "the same command goes on from there" in " ".join(stopped.output.split())
    assert [row["values"] for row in json.loads(path.read_text())["measured"][ENTRY]] == POINTS[:2]
    done = CliRunner().invoke(app, ["tune", ENTRY, "--output", str(path), "--repeats", "1"])
    assert done.exit_code == 0, done.output or done.exception
    assert [row["values"] for row in json.loads(path.read_text())["measured"][ENTRY]] == POINTS
    assert len(interrupts) == 1 + len(POINTS)
    assert read(path, "sm_90", NAME) == table_of("sm_90")
