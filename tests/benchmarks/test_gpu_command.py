"""What `python -m benchmarks gpu` refuses, and what it makes of steps that break, hang or do not fit."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import graphs, idle
from benchmarks.commands import app
from benchmarks.entry import Size
from benchmarks.gpu import (
    gpu_tests,
    parity,
    parity_cases,
    prefill,
    requirements,
    runner,
    sanitizer,
    steady,
    worker,
)
from benchmarks.gpu.day import all_steps
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.record import DONE, FAILED, FILE, Record, alone
from benchmarks.gpu.runner import GREEN, RED, UNFINISHED
from benchmarks.gpu.steps import Setting, Step
from benchmarks.gpu.strict_cuda import strict_cuda
from benchmarks.gpu.worker import Options
from benchmarks.idle import nvidia_smi
from benchmarks.kernel_time import capture_of
from benchmarks.report import checks
from benchmarks.results import append, read
from seats_ops.testing.replay import REPLAYS

DEVICE = torch.device("cuda", 0)
CONTEXT = {
    "device": "X",
    "kind": "cuda",
    "versions": {"torch": "9"},
    "sources": "abc",
    "tiles": "shipped",
    "rehearsed": True,
}
STEPS = {"device/a": 5.0, "tests/b": 50.0, "kernels/c": 10.0}


def outcome(status: str = DONE, rows: tuple[dict[str, Any], ...] = (), lost: bool = False) -> dict[str, Any]:
    error = None if status == DONE else "it broke"
    return {"rows": list(rows), "status": status, "error": error, "took": 1.0, "lost": lost}


@pytest.fixture(autouse=True)
def no_failures() -> None:
    graphs.failures.clear()


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Scripts what workers say about every step; gives the list of workers that were started."""

    def script(answers: dict[str, Any], context: dict[str, Any] = CONTEXT) -> list[Any]:
        begun: list[Any] = []

        class Scripted:
            def __init__(self, options: Options) -> None:
                self.options, self.asked = options, list[str]()
                self.pipe = SimpleNamespace(send=self.asked.append)
                self.process = SimpleNamespace(exitcode=-11, join=lambda seconds: None)
                self.ended = False
                begun.append(self)

            def hear(self, seconds: float) -> Any:
                if not self.asked:
                    return {"context": context, "steps": list(STEPS.items())}
                answer = answers.get(self.asked[-1], outcome())
                if isinstance(answer, type):
                    raise answer
                return answer(seconds) if callable(answer) else answer

            def end(self) -> None:
                self.ended = True

        # Of a process that did nothing else before.
        monkeypatch.setattr("benchmarks.gpu.command.STARTED", time.monotonic())
        monkeypatch.setattr(steady, "Worker", Scripted)
        monkeypatch.setattr(runner, "_page", lambda folder: None)
        return begun

    return script


def drive(folder: Path, **options: Any) -> int:
    return runner.drive(Plan(Options(), output=folder, **options))[1]


def test_what_breaks_is_recorded_and_the_rest_goes_on(workers: Any, tmp_path: Path) -> None:
    begun = workers({"device/a": outcome(FAILED, lost=True)})
    assert drive(tmp_path) == RED
    # The device was lost to the first worker, so a second one did the rest.
    assert [each.asked for each in begun] == [["device/a"], ["tests/b", "kernels/c"]]
    assert all(each.ended for each in begun)
    # It is not asked again whether the device is idle: the first may not have let go of it.
    assert [each.options.anyway for each in begun] == [False, True]
    assert Record(tmp_path).status() == {"device/a": FAILED, "tests/b": DONE, "kernels/c": DONE}


def test_a_failed_step_is_tried_again_after_what_was_never_done(workers: Any, tmp_path: Path) -> None:
    workers({"device/a": outcome(FAILED)})
    assert drive(tmp_path, parts=["device"]) == RED
    begun = workers({})
    assert drive(tmp_path) == GREEN
    assert begun[0].asked == ["tests/b", "kernels/c", "device/a"]
    begun = workers({})
    assert drive(tmp_path) == GREEN and begun[0].asked == []
    assert drive(tmp_path, parts=["kernels"], again=True) == GREEN and begun[1].asked == ["kernels/c"]


def test_a_process_that_dies_is_a_failed_step(workers: Any, tmp_path: Path) -> None:
    begun = workers({"tests/b": EOFError})
    assert drive(tmp_path) == RED and len(begun) == 2
    errors = [row["error"] for row in read(tmp_path / FILE) if row["name"] == "step/tests/b"]
    assert errors == ["its process ended with code -11"]


def test_a_step_that_hangs_is_given_up(workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "LEAST_PATIENCE", 7.0)
    patience: list[float] = []
    workers({"device/a": lambda seconds: patience.append(seconds)})
    assert drive(tmp_path) == RED
    assert patience == [4 * STEPS["device/a"]]
    assert [row["error"] for row in read(tmp_path / FILE) if row["name"] == "step/device/a"] == [
        "expected an end within 20 s"
    ]


def test_what_does_the_same_as_a_step_that_hung_is_left_out(
    workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise one kernel that hangs would cost its patience once for every dtype."""
    steps = dict.fromkeys(["parity/a/float32", "parity/a/float16", "parity/b/float32", "kernels/c"], 1.0)
    monkeypatch.setattr(sys.modules[__name__], "STEPS", steps)
    monkeypatch.setattr(steady, "LEAST_PATIENCE", 0.0)
    monkeypatch.setattr(steady, "PATIENCE", 0)
    begun = workers({"parity/a/float32": lambda seconds: None})
    assert drive(tmp_path) == RED
    assert [each.asked for each in begun] == [["parity/a/float32"], ["parity/b/float32", "kernels/c"]]
    monkeypatch.undo()
    assert "parity/a/float16" not in Record(tmp_path).status()


def test_tests_end_by_themselves_before_they_are_taken_for_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what was seen until then is counted."""
    monkeypatch.setattr("shutil.which", lambda name, path=None: f"/usr/bin/{name}")
    for step in all_steps(Setting(DEVICE)):
        limit = {"tests": gpu_tests.LIMIT, "sanitizer": sanitizer.LIMIT}.get(step.name.partition("/")[0], 0)
        assert max(steady.PATIENCE * step.seconds, steady.LEAST_PATIENCE) > limit, step.name


def test_two_runs_do_not_write_into_one_folder(workers: Any, tmp_path: Path) -> None:
    workers({})
    with alone(tmp_path), pytest.raises(RuntimeError, match="found another run at work, expected none"):
        drive(tmp_path)
    assert drive(tmp_path) == GREEN


def test_the_budget_counts_from_the_start_of_the_process(
    workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = workers({})
    monkeypatch.setattr("benchmarks.gpu.command.STARTED", time.monotonic() - 20.0)
    run = CliRunner().invoke(app, ["gpu", "--output", str(tmp_path), "--budget", "30"])
    assert run.exit_code == UNFINISHED and begun[0].asked == ["device/a"], run.output


def test_the_command_beside_a_row_writes_into_the_same_folder(workers: Any, tmp_path: Path) -> None:
    workers({"kernels/c": outcome(rows=({"name": "c"}, {"name": "d", "again": "its own"}))})
    folder = tmp_path / "a folder"
    options = Options(device="cuda:1", anyway=True, revision="abc")
    runner.drive(Plan(options, "h100", folder))
    again = {row["name"]: row["again"] for row in read(folder / FILE) if "again" in row}
    assert again["d"] == "its own"
    said = f"--part kernels/c --again --name h100 --output '{folder}' --revision abc --device cuda:1 --anyway"
    assert again["c"] == f"python -m benchmarks gpu {said}"


def test_a_worker_that_is_replaced_takes_its_time_from_the_budget(
    workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    workers({"device/a": outcome(FAILED, lost=True), "tests/b": lambda left: given.append(left)})
    clock = [0.0]
    monkeypatch.setattr(steady.time, "monotonic", lambda: clock[0])
    started = steady._started

    def slow(options: Options, seconds: float = steady.START) -> Any:
        clock[0] += 20.0
        return started(options, seconds)

    monkeypatch.setattr(steady, "_started", slow)
    assert drive(tmp_path, budget=100.0) in (RED, UNFINISHED)
    assert given == [60.0]


def test_what_failed_and_what_is_left_are_both_said(workers: Any, tmp_path: Path) -> None:
    workers({"device/a": outcome(FAILED)})
    _, code, said = runner.drive(Plan(Options(), output=tmp_path, budget=30.0))
    assert (code, said) == (RED, "1 steps failed; 1 steps are left: run the same command again")
    workers({})
    assert runner.drive(Plan(Options(), output=tmp_path))[1:] == (GREEN, "everything is done and green")


def test_a_file_is_no_folder(workers: Any, tmp_path: Path) -> None:
    workers({})
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"--output: expected a folder, got .*file, which is none"):
        drive(tmp_path / "file")


def test_what_does_not_fit_is_left_for_the_next_run(workers: Any, tmp_path: Path) -> None:
    begun = workers({})
    assert drive(tmp_path, budget=30.0) == UNFINISHED
    assert begun[0].asked == ["device/a", "kernels/c"]
    begun = workers({})
    assert drive(tmp_path) == GREEN and begun[0].asked == ["tests/b"]


def test_a_step_that_the_budget_cuts_off_is_not_recorded(workers: Any, tmp_path: Path) -> None:
    workers({"tests/b": lambda seconds: None})
    assert drive(tmp_path, budget=60.0) == UNFINISHED
    assert Record(tmp_path).status() == {"device/a": DONE}


def test_an_interrupted_run_keeps_what_it_has(workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, pages = workers({"tests/b": KeyboardInterrupt}), []
    monkeypatch.setattr(runner, "_page", pages.append)
    run = CliRunner().invoke(app, ["gpu", "--output", str(tmp_path)])
    assert run.exit_code == 130 and "interrupted; what was done is written" in run.output
    assert begun[0].ended and pages[-1] == tmp_path
    assert Record(tmp_path).status() == {"device/a": DONE}


def test_a_missing_matplotlib_costs_the_page_only(
    workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = runner._page
    workers({})
    monkeypatch.setattr(runner, "_page", page)
    monkeypatch.setitem(sys.modules, "benchmarks.report.page", None)
    assert drive(tmp_path) == GREEN
    assert len(Record(tmp_path).status()) == len(STEPS)


def test_red_tests_are_said_beside_every_number(workers: Any, tmp_path: Path) -> None:
    counted = {"name": "tests/b", "passed": 3, "failed": 2}
    workers({"tests/b": outcome(FAILED, rows=(counted,)), "kernels/c": outcome(rows=({"name": "c"},))})
    assert drive(tmp_path) == RED
    assert [row["tests"] for row in read(tmp_path / FILE) if row["name"] == "c"] == ["red: 2 failed"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("device", "Y"), ("versions", {"torch": "8"}), ("sources", "d"), ("tiles", "my.json 12"), ("rehearsed", False)],
)
def test_other_numbers_are_not_mixed_in(workers: Any, tmp_path: Path, key: str, value: Any) -> None:
    workers({})
    assert drive(tmp_path) == GREEN
    before = (tmp_path / FILE).read_bytes()
    workers({}, {**CONTEXT, key: value})
    with pytest.raises(ValueError) as refused:
        drive(tmp_path, again=True)
    assert f"found rows with {key} {CONTEXT[key]}, expected {value}" in str(refused.value)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"name": "compact/drop", "device": "X"}\n')
    with pytest.raises(ValueError, match="found rows of format 1, expected 2"):
        Record(tmp_path)
    (tmp_path / FILE).write_text("name,seconds\n")
    with pytest.raises(ValueError, match=r"line 1: expected a JSON object with a name, got 'name,seconds'"):
        Record(tmp_path)


def test_rows_are_added_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / FILE
    append(file, {"name": "a"})
    before = file.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        append(file, {"name": "b"}, {"name": "c"})
    assert file.read_bytes() == before


def test_a_part_that_nobody_knows_lists_the_known(workers: Any, tmp_path: Path) -> None:
    workers({})
    with pytest.raises(ValueError, match="got stage, expected one of device, tests, kernels, device/a, tests/b, kern"):
        drive(tmp_path, parts=["stage"])


def test_every_step_is_selected_by_its_name(tmp_path: Path) -> None:
    """So the command beside a row does that row's step and no other."""
    known = [step.name for step in all_steps(Setting(DEVICE))]
    for name in known:
        plan = Plan(Options(), parts=[name], again=True)
        assert plan.left(plan.asked(known), Record(tmp_path)) == [name]


def test_a_full_day_is_guessed_at_two_runs_of_nine_minutes() -> None:
    assert sum(step.seconds for step in all_steps(Setting(DEVICE))) < 2 * 540


def test_without_a_device_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"device: found none .*expected a GPU; --rehearse"):
        worker._prepare(Options())


def test_a_cpu_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with strict_cuda(), pytest.raises(ValueError, match="device: got cpu, expected cuda or cuda:N; --rehearse"):
        worker._prepare(Options(device="cpu"))


def test_the_sanitizer_is_found_in_the_toolkit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "bin" / sanitizer.TOOL
    tool.parent.mkdir()
    tool.touch(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert sanitizer.found() == str(tool)


def test_old_versions_are_refused_with_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert requirements.old_versions() == []
    monkeypatch.setattr(requirements, "old_triton", lambda: "triton: expected a version >=3.6, got 3.5.0")
    monkeypatch.setattr("transformers.__version__", "5.16.0")
    triton, transformers = requirements.old_versions()
    assert triton.endswith("got 3.5.0") and transformers.startswith(
        "transformers: expected a version >=5.17, got 5.16.0"
    )


@pytest.mark.parametrize(
    ("free", "utilisation", "said"),
    [
        (79, "3 %", []),
        (79, "", []),
        (60, "3 %", ["device: found 20.0 GiB in use by others, expected an idle one"]),
        (79, "97 %", ["device: found it busy 97 % of the time, expected an idle one"]),
        (
            5,
            "0 %",
            [
                "memory: found 5.0 of 80 GiB free, expected 8",
                "device: found 75.0 GiB in use by others, expected an idle one",
            ],
        ),
    ],
)
def test_a_busy_or_full_device_is_refused(
    free: int, utilisation: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with strict_cuda():
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * 2**30, 80 * 2**30))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
        monkeypatch.setattr(idle, "nvidia_smi", lambda device: {"utilization.gpu": utilisation})
        assert idle.unfit(DEVICE) == said


def test_the_drivers_tool_is_asked_about_this_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def answer(command: list[str], **options: Any) -> Any:
        asked.append(command)
        return SimpleNamespace(stdout="580.1, 12 %, 345 MHz, 1980 MHz, 700.00 W, 31\n")

    monkeypatch.setattr("subprocess.run", answer)
    with strict_cuda():
        found = nvidia_smi(DEVICE)
        assert asked[0][-2:] == ["-i", "0"]
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="ab-cd"))
        nvidia_smi(DEVICE)
        assert asked[1][-2:] == ["-i", "GPU-ab-cd"]
    assert found["driver_version"] == "580.1" and found["utilization.gpu"] == "12 %"
    monkeypatch.setattr("subprocess.run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError))
    with strict_cuda():
        assert nvidia_smi(DEVICE) == {}


def test_what_is_not_as_expected_is_refused_or_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "unfit", lambda device: ["device: busy"])
    old = ["triton: expected 3, got 2"]
    with strict_cuda():
        with pytest.raises(RuntimeError, match=r"triton: expected 3, got 2; device: busy \(--anyway"):
            worker._prepare(Options(rehearse=True), old)
        context, steps = worker._prepare(Options(rehearse=True, anyway=True), old)
    assert context["anyway"] == [*old, "device: busy"] and context["rehearsed"] and steps


def test_a_launch_table_that_cannot_be_followed_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for content, said in ((None, "got mine.json: No such file"), ("{}", "expected format 1, got None")):
        file = tmp_path / "mine.json"
        if content is not None:
            file.write_text(content)
        monkeypatch.setenv("SEATS_OPS_TILES", str(file))
        with strict_cuda(), pytest.raises(ValueError, match=f"SEATS_OPS_TILES.*{said}"):
            worker._prepare(Options(rehearse=True))


def test_a_step_that_raises_says_where_and_whether_the_device_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise ZeroDivisionError("nothing left")

    with strict_cuda():
        found = worker._outcome(Step("a", 1, broken), rehearsed=False)
        assert (found["status"], found["lost"]) == (FAILED, False)
        assert found["error"].startswith("ZeroDivisionError: nothing left (test_gpu_command.py:")
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: (_ for _ in ()).throw(RuntimeError("CUDA error: 700")))
        found = worker._outcome(Step("a", 1, lambda: []), rehearsed=False)
        assert (found["status"], found["lost"], found["error"]) == (FAILED, True, "CUDA error: 700")


def test_a_process_whose_capture_broke_off_does_no_more() -> None:
    with strict_cuda():
        assert not worker._outcome(Step("a", 1, lambda: []), rehearsed=False)["lost"]
        found = worker._outcome(Step("a", 1, lambda: [{"name": capture_of(lambda: torch.ones(1).item(), 0)}]), False)
        assert "not permitted" in found["rows"][0]["name"]
        assert (found["status"], found["lost"]) == (DONE, True)


def test_a_capture_that_torch_refuses_breaks_nothing() -> None:
    calls = []

    def pageable() -> None:
        calls.append(1)
        # The call itself and the one on a side stream come before that of the capture.
        if len(calls) == 3:
            raise RuntimeError("Cannot copy between CPU and CUDA tensors during CUDA graph capture")

    with strict_cuda():
        found = worker._outcome(Step("a", 1, lambda: [{"name": capture_of(pageable, 0)}]), False)
    assert found["rows"][0]["name"].startswith("not captured: Cannot copy between CPU and CUDA")
    assert (found["status"], found["lost"]) == (DONE, False)


def test_counts_of_tests_that_were_cut_off() -> None:
    output = """
tests/gpu/test_small_cases.py::test_a[dim0] PASSED                 [ 10%]
[gw0] [ 20%] PASSED tests/gpu/test_small_cases.py::test_b
[gw1] [ 30%] FAILED tests/gpu/test_small_cases.py::test_c[PASSED or not]
tests/gpu/test_small_cases.py::test_d SKIPPED (needs memory)       [ 40%]
tests/gpu/test_small_cases.py::test_e """
    assert gpu_tests.counts(output) == {"passed": 2, "failed": 1, "skipped": 1, "failures": []}
    summary = "=== short test summary info ===\nFAILED tests/x.py::test_c[1] - assert 1 == 2\n=== 1 failed ==="
    assert gpu_tests.counts(f"{output}\n{summary}")["failures"] == ["tests/x.py::test_c[1] - assert 1 == 2"]


def test_tests_that_all_skip_are_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_tests, "run_pytest", lambda *_, **__: ("tests/gpu/x.py::test_a SKIPPED (no device)", 0))
    with pytest.raises(RuntimeError, match=r"test_stages\.py: expected tests to run on the device"):
        gpu_tests.run("stages", Setting(DEVICE))


@pytest.mark.parametrize(
    ("result", "code", "wrong"),
    [
        ("PASSED", 0, None),
        ("FAILED", 1, "1 tests failed"),
        ("PASSED", -6, "tests: pytest ended with code -6, expected 0"),
        ("PASSED", None, "tests: expected an end within 150 s"),
    ],
)
def test_tests_whose_process_dies_or_hangs_are_not_green(
    result: str, code: int | None, wrong: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = f"tests/gpu/x.py::test_a PASSED\ntests/gpu/x.py::test_b {result}"
    monkeypatch.setattr(gpu_tests, "run_pytest", lambda *_, **__: (output, code))
    with strict_cuda():
        found = worker._outcome(Step("tests/stages", 1, lambda: gpu_tests.run("stages", Setting(DEVICE))), False)
    assert (found["status"], found["error"]) == (FAILED if wrong else DONE, wrong)
    record = Record(tmp_path)
    record.add(CONTEXT, "tests/stages", found)
    said = {"FAILED": "red: 1 failed"}.get(result, "unfinished: tests/stages")
    assert record.tests() == (said if wrong else "green")


@pytest.mark.parametrize(
    ("visible", "index", "seen"), [(None, 1, "1"), ("", 0, "0"), ("3,5", 1, "5"), ("GPU-ab, GPU-cd", 0, "GPU-ab")]
)
@pytest.mark.parametrize("part", ["tests", "sanitizer"])
def test_tests_see_the_device_that_was_asked_for(
    part: str, visible: str | None, index: int, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("shutil.which", lambda name, path=None: f"/usr/bin/{name}")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(48), raising=False)
    given: list[dict[str, str]] = []

    def pytest_of(arguments: Any, seconds: float, before: Any = (), variables: Any = None) -> tuple[str, int]:
        given.append(variables)
        return "tests/gpu/x.py::test_a PASSED", 0

    monkeypatch.setattr(gpu_tests, "run_pytest", pytest_of)
    monkeypatch.setattr(sanitizer, "run_pytest", pytest_of)
    setting = Setting(torch.device("cuda", index))
    _ = gpu_tests.run("stages", setting) if part == "tests" else sanitizer._rows(setting)
    assert given[0]["CUDA_VISIBLE_DEVICES"] == seen
    # Eight workers share the cores that this process may use.
    assert given[0].get("OMP_NUM_THREADS") == ("6" if part == "tests" else None)


def test_the_exit_code_of_tests_is_seen() -> None:
    assert gpu_tests.run_pytest(["--version"], 100)[1] == 0
    assert gpu_tests.run_pytest(["tests/gpu/no_such_file.py"], 100)[1] == 4


def spoiled(name: str, got: torch.Tensor) -> torch.Tensor:
    """What a kernel that is slightly wrong gives."""
    if got.dtype == torch.bool:
        return got.roll(1)
    return got + (2 if name == "window_budget" else 1 if name == "compact" else got.abs().max())


@pytest.mark.parametrize("dtype", parity.DTYPES)
@pytest.mark.parametrize("name", parity_cases.CASES)
def test_a_wrong_kernel_fails_its_step(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build, setting = parity_cases.CASES[name], Setting.rehearsal(DEVICE)

    def broken(size: Size, dtype: torch.dtype) -> parity_cases.Case:
        case = build(size, dtype)

        def call(*, backend: str, **inputs: torch.Tensor) -> torch.Tensor:
            got = case.call(**inputs, backend=backend)
            return got if backend == "reference" else spoiled(name, got)

        return replace(case, call=call)

    with strict_cuda():
        run = functools.partial(parity.against_reference, name, dtype, setting)
        assert worker._outcome(Step("a", 1, run), False)["status"] == DONE
        monkeypatch.setitem(parity_cases.CASES, name, broken)
        found = worker._outcome(Step("a", 1, run), False)
    assert found["status"] == FAILED and found["error"].startswith(f"parity/{name}/{dtype}: ")
    # The page shows it, certificates included.
    rows = {row["name"]: row for row in found["rows"]}
    assert found["error"].replace("|", "/") in checks.parity(rows)


@pytest.mark.parametrize("name", REPLAYS)
@pytest.mark.parametrize("dtype", parity.DTYPES)
def test_a_kernel_that_leaves_the_records_fails_its_step(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, replay = REPLAYS[name]
    setting = replace(Setting.rehearsal(DEVICE), goldens=3)
    bad = {"error": float("nan")} if kind in parity.SCORES else {"margin": 0.5}

    def broken(case: Any, place: Any) -> Any:
        found = replay(case, place)
        return replace(found, **bad) if place["backend"] == "triton" else found

    with strict_cuda():
        assert "wrong" not in parity.against_goldens(name, dtype, setting)[0]
        monkeypatch.setitem(REPLAYS, name, (kind, broken))
        assert "expected at most" in parity.against_goldens(name, dtype, setting)[0]["wrong"]


def test_a_narrower_model_is_taken_where_memory_is_short() -> None:
    assert [prefill.widest(gib * 2**30) for gib in (80, 28, 24, 8)] == [3584, 3584, 2048, 1024]
    with pytest.raises(RuntimeError, match=r"memory: found 7\.0 GiB free, expected 8"):
        prefill.widest(7 * 2**30)


@pytest.mark.parametrize(
    ("output", "summary"),
    [("ERROR SUMMARY: 0 errors", "0 errors"), ("ERROR SUMMARY: 2 errors", "2 errors"), ("", "no")],
)
def test_the_sanitizers_summary_is_recorded(output: str, summary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: f"/usr/bin/{name}")
    monkeypatch.setattr(
        sanitizer, "run_pytest", lambda tests, limit, tool, plain: (f"{tool[0]}\n========= {output}", 0)
    )
    (row,) = sanitizer._rows(Setting(DEVICE))
    assert row["summary"].startswith(summary)
    assert ("log" in row) == ("wrong" in row) == (summary != "0 errors")
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    assert sanitizer._rows(Setting(DEVICE)) == [{"name": "sanitizer", "summary": "compute-sanitizer is not installed"}]


@pytest.mark.skipif(torch.cuda.is_available(), reason="would begin a day on this GPU")
def test_the_command_says_what_was_found() -> None:
    run = CliRunner().invoke(app, ["gpu"])
    assert isinstance(run.exception, RuntimeError) and "device: found none" in str(run.exception)
