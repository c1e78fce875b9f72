"""`python -m benchmarks serving`: all of it that is no engine."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import serving
from benchmarks.commands import app
from benchmarks.machine import ROOT
from benchmarks.measured_tables import in_vllm
from benchmarks.report import longer
from benchmarks.results import read
from benchmarks.serving_rounds import Asked, Round, run_round

NO_VLLM = importlib.util.find_spec("vllm") is None


class Counting:
    """An engine whose every step takes a second and gives a token to each of its requests, `slots` of them at once."""

    def __init__(self, tokens: int, slots: int = 99) -> None:
        self.tokens, self.slots, self.time = tokens, slots, 0.0
        self.left: dict[str, int] = {}
        self.most = 0

    def add(self, name: str, prepared: Any) -> None:
        self.left[name] = 0
        self.most = max(self.most, len(self.left))

    def step(self) -> Sequence[tuple[str, int, bool]]:
        self.time += 1
        told = []
        for name in list(self.left)[: self.slots]:
            self.left[name] += 1
            told.append((name, self.left[name], self.left[name] == self.tokens))
            if told[-1][2]:
                del self.left[name]
        return told


@pytest.mark.parametrize(
    ("concurrency", "slots", "seconds", "first"),
    [
        (1, 9, 12, [1, 1, 1, 1]),
        (2, 9, 6, [1, 1, 1, 1]),
        (4, 9, 3, [1, 1, 1, 1]),
        # The second waits until the first has ended; then the third takes the free place.
        (2, 1, 12, [1, 4, 4, 4]),
        (3, 9, 6, [1, 1, 1, 1]),
    ],
)
def test_a_round(concurrency: int, slots: int, seconds: float, first: list[float]) -> None:
    engine = Counting(3, slots)
    found = run_round(engine, ["a", "b", "c", "d"], concurrency, lambda: engine.time)
    assert found.seconds == seconds and found.first_tokens == first and engine.most == concurrency


def rounds(seconds: list[float], first: float, prompt: int) -> list[Round]:
    return [Round(s, [first, first + 0.5], 0.25, prompt) for s in seconds]


def test_a_row_says_what_both_sides_took() -> None:
    sides = {"pruned": rounds([2.0, 4.0, 3.0], 0.5, 250), "unpruned": rounds([6.0, 5.0, 9.0], 2.0, 1000)}
    parts = {"pruned": {"decoder": 0.4, "rest": 0.6}, "unpruned": {"decoder": 0.8, "rest": 0.2}}
    row = serving.summary(2, sides, parts, Asked(3, 4, 56, 8))
    assert row["name"] == "serving/2" and row["repeats"] == 3
    assert row["tokens_per_second"] == 8.0 and row["tokens_per_second_unpruned"] == 4.0
    assert row["speedup"] == 2.0
    assert row["seconds_to_first_token"]["raw"] == [0.5, 1.0] * 3
    assert row["speedup_first_token"] == pytest.approx(2.25 / 0.75)
    assert (row["prompt_tokens_unpruned"], row["prompt_tokens"]) == (1000, 250)
    assert serving.told(row, ratios_only=True) == (
        "serving/2: prompts 1000 -> 250, tokens a second 2.00x, first token 3.00x sooner; "
        "decoder 80% -> 40%, rest 20% -> 60%"
    )
    assert "4 -> 8 tokens a second, 2.25 -> 0.75 s to the first" in serving.told(row, ratios_only=False)


def test_the_page_shows_what_was_measured() -> None:
    page = (ROOT / "docs" / "vllm.md").read_text(encoding="utf-8")
    assert f"\n{in_vllm()}\n" in page.partition("## Measured\n")[2].partition("\n## ")[0]


def test_a_table_has_the_ratios_of_both_sides() -> None:
    sides = {"pruned": rounds([2.0, 4.0], 0.5, 250), "unpruned": rounds([6.0, 6.0], 2.0, 1000)}
    parts = {"pruned": {"decoder": 0.4}, "unpruned": {"decoder": 0.8}}
    table = longer.serving([serving.summary(2, sides, parts, Asked(3, 4, 56, 8))])
    assert table.splitlines()[-1] == "| 2 | 2.00 (1.50 to 3.00) | 3.00 | 80% -> 40% |"


@pytest.mark.skipif(not NO_VLLM, reason="vLLM is installed")
def test_an_environment_without_vllm_is_refused(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["serving", "--output", str(tmp_path / "rows.jsonl")])
    assert isinstance(run.exception, RuntimeError)
    assert str(run.exception).startswith("vllm: expected an environment that has it")
    assert not list(tmp_path.iterdir())


REFUSED = [
    (["--concurrency", "9"], "concurrency: expected 1 to 8, the requests of a round, got 9"),
    (["--concurrency", "0"], "concurrency: expected 1 to 8"),
    (["--seconds", "21"], "seconds: expected 2 to 20, got 21"),
    (["--side", "100"], "side: expected a multiple of 28 from 56 to 224, got 100"),
    (["--tokens", "1"], "tokens: expected 2 at least, got 1"),
    (["--width", "96"], "width: expected a multiple of 64, got 96"),
]


@pytest.fixture
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """In place of vLLM and of its engines; gives what was asked of them."""
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    module = ModuleType("benchmarks.serving_engine")

    class Engines:
        version = "0.32.0"

        def __init__(self, *arguments: Any, **more: Any) -> None:
            given.append({"arguments": arguments, **more})

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None: ...

        def describe(self) -> dict[str, Any]:
            return {"weights": "random", "width": 512}

        def rounds(self, number: int, repeats: int) -> dict[str, list[Round]]:
            given[-1].setdefault("rounds", []).append((number, repeats))
            return {"pruned": rounds([1.0], 1.0, 5), "unpruned": rounds([2.0], 2.0, 9)}

        def parts(self, number: int) -> dict[str, dict[str, float]]:
            return {"pruned": {}, "unpruned": {}}

    module.Engines = Engines  # type: ignore[attr-defined]
    module.random_checkpoint = lambda folder, width, layers: (width, layers)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "benchmarks.serving_engine", module)
    return given


@pytest.mark.parametrize(("options", "reason"), REFUSED)
def test_sizes_that_cannot_be_served(options: list[str], reason: str, fake_vllm: list[Any], tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["serving", *options, "--output", str(tmp_path / "rows.jsonl")])
    assert isinstance(run.exception, ValueError) and reason in str(run.exception)
    assert not fake_vllm


def test_rows_say_where_they_are_from_and_how_to_repeat_them(fake_vllm: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    run = CliRunner().invoke(
        app, ["serving", "--device", "cpu", "--repeats", "2", "--seconds", "4", "--output", str(file)]
    )
    assert run.exit_code == 0, run.output or run.exception
    written = read(file)
    assert [row["name"] for row in written] == [f"serving/{n}" for n in (1, 2, 4, 8)]
    for row in written:
        assert row["versions"]["vllm"] == "0.32.0" and row["clock"] == "process time"
        assert {"device", "cores", "revision", "dirty", "load", "weights", "width"} <= row.keys()
    fake_vllm.clear()
    again = shlex.split(written[1]["again"].removeprefix("python -m benchmarks "))
    assert CliRunner().invoke(app, again).exit_code == 0
    assert read(file)[-1]["again"] == written[1]["again"]
    (asked,) = fake_vllm
    assert asked["rounds"] == [(2, 2)] and asked["random"] is True
    assert asked["arguments"] == ((512, 6), {"video": 0.1, "audio": 0.35}, Asked(8, 4, 168, 16), torch.device("cpu"))


def test_another_model_is_served_as_it_is(fake_vllm: list[Any], tmp_path: Path) -> None:
    options = ["--device", "cpu", "--model", str(tmp_path), "--side", "448", "--seconds", "60", "--concurrency", "1"]
    run = CliRunner().invoke(app, ["serving", *options, "--output", str(tmp_path / "rows.jsonl")])
    assert run.exit_code == 0, run.output or run.exception
    assert fake_vllm[0]["arguments"][0] == tmp_path and fake_vllm[0]["random"] is False
