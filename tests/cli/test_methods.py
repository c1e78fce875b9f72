"""Published methods on the command line: listed, and run by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from seats_ops import Schedule
from seats_ops.cli import app as app_module
from seats_ops.cli import demo as demo_module
from seats_ops.cli import thinker
from seats_ops.cli.app import app
from seats_ops.cli.method_runs import named_methods, parsed
from seats_ops.methods import method, methods


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_all_methods_fit_a_screen_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "console", lambda: Console(width=80, highlight=False))
    status, said, _ = call("methods")
    assert status == 0 and all(len(line.rstrip()) <= 80 for line in said.splitlines())
    table, usual = said.split("Where nothing else is said: ")
    lines = table.splitlines()[4:]
    assert [line.split()[0] for line in lines if line[:2].strip()] == list(methods())
    width = max(map(len, methods())) + 2
    texts = " ".join(" ".join(line[width:].split()) for line in lines)
    for text in ("ratio: 1 - q, share of a video that enters the LLM", "supplied: video_relevance, audio_relevance"):
        assert text in texts
    assert "chance: deterministic | " not in texts and "chance: deterministic | " in " ".join(usual.split())


@pytest.mark.parametrize("name", ["fastvid", "uniform"])
def test_one_method(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "console", lambda: Console(width=80, highlight=False))
    status, said, _ = call("methods", name)
    lines, one = said.splitlines(), method(name)
    assert status == 0 and lines[0] == name and all(len(line.rstrip()) <= 80 for line in lines)
    # What goes on in the next line stands under what it goes on from.
    assert all(line[:13].strip() == "" or line[2:].split(":")[0].replace(" ", "").isalpha() for line in lines[1:])
    words = " ".join(said.split())
    for text in (one.protocol.ratio, one.protocol.merge, one.protocol.count, one.source, *one.options):
        assert " ".join(text.split()) in words


def test_json_of_methods() -> None:
    found = json.loads(call("methods", "--json")[1])
    assert [entry["name"] for entry in found] == list(methods())
    [one] = [entry for entry in found if entry["name"] == "random"]
    assert json.loads(call("methods", "random", "--json")[1]) == one
    assert one["protocol"]["chance"].startswith("seeded") and one["options"] == {"seed": "0"}
    assert one["source"] == method("random").source
    by_name = {entry["name"]: entry["protocol"] for entry in found}
    assert by_name["random"]["count"] == "shape" and by_name["holitom"]["count"] == "data, shape"


def test_a_method_that_nobody_knows_is_one_line() -> None:
    status, said, error = call("methods", "fastvv")
    assert (status, said) == (1, "") and error.startswith("seats-ops: method: expected one of ")
    assert error.endswith("got 'fastvv'\n") and error.count("\n") == 1


def test_what_is_typed_is_a_name_a_ratio_and_options() -> None:
    assert parsed("divprune") == ("divprune", 0.25, {})
    assert parsed("fastvid=0.2,release=qwen") == ("fastvid", 0.2, {"release": "qwen"})
    assert parsed("random=0.1,seed=3") == ("random", 0.1, {"seed": 3})
    assert parsed("v2drop=0.3,layers=[3, 16,22],variant=llava") == (
        "v2drop", 0.3, {"layers": [3, 16, 22], "variant": "llava"},
    )  # fmt: skip
    assert parsed("pooled,cell=[2,2]") == ("pooled", 0.25, {"cell": [2, 2]})
    assert parsed("seats=video:0.06/audio:0.35,drop_layers=[]") == (
        "seats", {"video": 0.06, "audio": 0.35}, {"drop_layers": []},
    )  # fmt: skip
    assert parsed("evs= video : 0.3") == ("evs", {"video": 0.3}, {})


@pytest.mark.parametrize(
    ("typed", "called"),
    [
        ("v2drop=0.3,layers=[3,16,22]", ("v2drop", 0.3, {"layers": (3, 16, 22)})),
        ("pooled=0.25,cell=[1,4]", ("pooled", 0.25, {"cell": (1, 4)})),
        ("seats=video:0.06/audio:0.35,drop_layers=[14,20]",
         ("seats", {"video": 0.06, "audio": 0.35}, {"drop_layers": (14, 20)})),
    ],
)  # fmt: skip
def test_lists_and_ratios_by_modality_can_be_typed(typed: str, called: Any, tiny_config: Any) -> None:
    name, ratio, options = called
    assert named_methods([typed], tiny_config) == {typed: method(name)(tiny_config, ratio, **options)}


def test_methods_are_named_by_what_was_typed() -> None:
    found = named_methods(["divprune", "divprune=0.1", "random=0.1,seed=3"], None)
    assert list(found) == ["divprune=0.25", "divprune=0.1", "random=0.1,seed=3"]
    assert found["random=0.1,seed=3"] == method("random")(None, 0.1, seed=3)


TYPED = [
    (["fastvv=0.1"], "--method fastvv=0.1: method: expected one of"),
    (["divprune=a"], "--method: expected NAME=RATIO, such as divprune=0.1 or seats=video:0.06/audio:0.35, got 'divp"),
    (["divprune=video:0.1/video:0.2"], "--method: expected NAME=RATIO, such as divprune=0.1 or seats=video:0.06/audio"),
    (["divprune=video:0.1:2"], "--method: expected NAME=RATIO"),
    (["divprune=video:1.5"], "--method divprune=video:1.5: video: expected a number in [0, 1]"),
    (["random=0.1,seed=1,seed=2"], "--method: expected each option once, got seed twice"),
    (["v2drop=0.3,layers=[3,16"], "--method: expected OPTION=VALUE after a comma, got '16'"),
    (["divprune=1.5"], "--method divprune=1.5: ratio: expected"),
    (["divprune=nan"], "--method divprune=nan: ratio: expected"),
    (["fastv-om=0.01"], "--method fastv-om=0.01: video: expected at least 2 / 28"),
    (["divprune=0.1,seed=3"], "--method divprune=0.1,seed=3: divprune: expected options among (), got seed"),
    (["divprune=0.1,seed"], "--method: expected OPTION=VALUE after a comma, got 'seed'"),
    (["divprune=0.1", "divprune=0.1"], "--method: expected each once, got divprune=0.1 twice"),
    (["divprune", "divprune=0.25"], "--method: expected each once, got divprune=0.25 twice"),
]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tiny_model: Any) -> None:
    monkeypatch.setattr(demo_module.models, "random_model", lambda *_, **__: tiny_model)
    monkeypatch.setattr(thinker.models, "random_model", lambda *_, **__: tiny_model)


@pytest.mark.parametrize(("typed", "message"), TYPED, ids=[" ".join(typed) for typed, _ in TYPED])
def test_what_cannot_be_is_refused(typed: list[str], message: str, tiny_config: Any) -> None:
    with pytest.raises(ValueError) as error:
        named_methods(typed, tiny_config)
    assert message in str(error.value)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("command", ["demo", "compare"])
def test_refused_in_one_line_before_anything_is_written(command: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, said, error = call(command, "--method", "fastvv=0.1", "--out", out)
    assert (status, said) == (1, "") and "seats-ops: --method fastvv=0.1: method: expected one of" in error
    assert "Traceback" not in error and not out.exists()


def test_compare_takes_methods_or_the_papers_ratios(tmp_path: Path) -> None:
    status, said, error = call("compare", "--method", "evs=0.5", "--retention", "10", "--out", tmp_path / "out")
    assert (status, said) == (1, "") and "--method, --retention: expected one of them, got evs=0.5 and 10" in error


@pytest.mark.usefixtures("small")
def test_demo_of_methods(tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, said, error = call(
        "demo", "--out", out, "--frame-tokens", 40, "--repeats", 1, "--max-new-tokens", 1,
        "--method", "divprune=video:0.1/image:0.5", "--method", "fastv-om", "--method", "v2drop=0.3,layers=[3,16,22]",
    )  # fmt: skip
    assert status == 0, error
    assert "divprune" in said and "SEATS" not in said
    report = json.loads((out / "report.json").read_text())
    assert [run["name"] for run in report["runs"]] == [
        "all tokens", "divprune=video:0.1/image:0.5", "fastv-om=0.25", "v2drop=0.3,layers=[3,16,22]",
    ]  # fmt: skip
    divprune, fastv, v2drop = (Schedule.from_dict(run["schedule"]) for run in report["runs"][1:])
    assert len(divprune.before_llm) == 1 and list(fastv.after_layer) == [2]
    assert list(v2drop.after_layer) == [3, 16, 22]
    assert report["runs"][1]["mean_retention"] == {"video": 0.1, "audio": 1.0}
    assert report["runs"][2]["mean_retention"]["video"] == pytest.approx(0.25, abs=0.01)
    assert {path.suffix for path in out.iterdir()} == {".html", ".png", ".json"}
    assert (out / "divprune=video-0.1-image-0.5.html").exists() and (out / "v2drop=0.3,layers=-3,16,22.png").exists()


@pytest.mark.usefixtures("small")
def test_compare_methods_and_a_schedule(tmp_path: Path) -> None:
    Schedule().save(tmp_path / "nothing.json")
    status, said, error = call(
        "compare", "--out", tmp_path / "out", "--frame-tokens", 16, "--repeats", 1, "--max-new-tokens", 1, "--no-pages",
        "--schedule", tmp_path / "nothing.json", "--method", "uniform=0.1", "--json",
    )  # fmt: skip
    assert status == 0, error
    assert list(json.loads(said)["overall"]) == ["nothing", "uniform=0.1"]
