"""`seats-ops plan --engine vllm`: what a request takes of an engine, by hand, and what cannot be served."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner
from seats_ops.cli.app import app
from seats_ops.cli.plan_serving import ARCHITECTURES
from seats_ops.integrations import vllm as plugin
from seats_ops.methods import method
from seats_ops.retention import paper_ratios

pytestmark = pytest.mark.usefixtures("no_network")

RATIOS = ("--video", "0.1", "--audio", "0.3")
MINUTES = ("--seconds", "120", *RATIOS)
"""120 grids of 720 tokens, 3,000 of sound, 100 of text: 89,500. Of 60 blocks of 1,440 and 60 of 50 stay 144 and 15."""
SHORT = ("--seconds", "20", *RATIOS)
"""20 grids: 14,400 + 500 + 100 = 15,000. Of 10 blocks each stay 1,440 + 150, with the text 1,690."""
OMNI = "qwen3-omni-30b-a3b-instruct"
BLOCK = 2 * 16 * 4 * 128 * 2 * 28
"""Bytes of a block: keys and values of 16 tokens, 4 heads of 128, bfloat16, 28 layers; 0.875 MiB."""


@pytest.fixture(autouse=True)
def without_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["plan", "7b", "--engine", "vllm", *arguments])
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def serving(*arguments: str) -> Any:
    return json.loads(run("--json", *arguments))["serving"]


def fail(*arguments: str, model: str = "7b") -> str:
    result = CliRunner().invoke(app, ["plan", model, *arguments])
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    return " ".join(result.stderr.replace("│", " ").split())


def test_two_minutes_fit_only_pruned() -> None:
    found = serving(*MINUTES, "--max-model-len", "16384", "--kv-cache", "16GiB")
    assert (found["block_size"], found["block_bytes"], found["context"]) == (16, BLOCK, 16_384)
    # 89,500 / 16 = 5,593.75 and 9,640 / 16 = 602.5. 16 GiB are 18,724 blocks, of which one stays empty.
    assert found["whole"] == {
        "tokens": 89_500,
        "blocks": 5_594,
        "kv_bytes": 5_594 * BLOCK,
        "fits": False,
        "at_once": 0,
    }
    assert found["pruned"] == {"tokens": 9_640, "blocks": 603, "kv_bytes": 603 * BLOCK, "fits": True, "at_once": 31}


def test_twenty_seconds_fit_both_ways() -> None:
    found = serving(*SHORT, "--max-model-len", "16384", "--kv-cache", "16GiB")
    assert [found[name]["blocks"] for name in ("whole", "pruned")] == [938, 106]
    assert [found[name]["at_once"] for name in ("whole", "pruned")] == [18_723 // 938, 18_723 // 106] == [19, 176]
    text = run(*SHORT, "--max-model-len", "16384", "--kv-cache", "16GiB")
    # In MiB: 938 and 106 times 0.875.
    assert "all tokens 15,000 938 820.8 yes 19" in text and "pruned 1,690 106 92.8 yes 176" in text
    assert "With one token of answer, in a context of 16,384; blocks of 16 tokens, in bfloat16." in text
    assert "At once: in 16.00 GiB, of which vLLM leaves a block empty" in text


def test_answers_need_room_and_blocks_too() -> None:
    found = serving(*SHORT, "--answer-tokens", "257", "--block-size", "128")
    # Of 1,690 + 257 tokens the last has no keys: 1,946 / 128 = 15.2; and 15,256 / 128 = 119.2.
    assert [found[name]["blocks"] for name in ("whole", "pruned")] == [120, 16]
    assert found["block_bytes"] == 8 * BLOCK and found["cache"] is None
    assert found["pruned"]["at_once"] is None
    edge = ("--max-model-len", "15257", "--answer-tokens")
    assert [serving(*SHORT, *edge, n)["whole"]["fits"] for n in ("257", "258")] == [True, False]
    assert "all tokens 15,000 938 820.8 yes - pruned 1,690 106 92.8 yes -" in run(*SHORT)


def test_the_context_is_the_models_where_nobody_says(tmp_path: Path) -> None:
    assert serving(*SHORT)["context"] == 32_768
    assert "expected at most 32768, the model's context, got 40000" in fail(
        "--engine", "vllm", *SHORT, "--max-model-len", "40000"
    )


def test_what_is_planned_without_a_schedule_is_the_stage_that_can_be_served() -> None:
    found = json.loads(run("--json", "--seconds", "20"))
    from seats_ops.cli.checkpoints import named_checkpoint

    video, audio = paper_ratios(named_checkpoint("7b").config(), 0.10)
    expected = Schedule(DiversitySelector({"video": video, "audio": audio}))
    assert Schedule.from_dict(found["schedule"]) == expected
    assert found["ratios"] is None
    assert json.loads(CliRunner().invoke(app, ["plan", "7b", "--json"]).stdout)["serving"] is None


def test_a_schedule_that_counts_by_frames(tmp_path: Path) -> None:
    """EVS keeps round(0.25 * 14,400) tokens of a video, and does not look at sound."""
    path = tmp_path / "evs.json"
    method("evs")(None, {"video": 0.25}).save(path)
    assert serving("--seconds", "20", "--schedule", str(path))["pruned"]["tokens"] == 3_600 + 500 + 100


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        (Schedule(DiversitySelector(0.5), {4: StagePruner(0.5)}), "got stages after layers (4)"),
        (Schedule(after_layer={4: ModalityDropper()}), "got stages after layers (4)"),
        (Schedule(), "got no stage"),
        (method("vidcom2")(None, 0.3), "whose counts depend on data"),
        (method("cdpruner")(None, 0.3), "which asks for 'question'"),
    ],
)
def test_a_schedule_that_cannot_be_served_is_refused_with_the_reason(
    schedule: Schedule, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.json"
    schedule.save(path)
    assert reason in fail("--engine", "vllm", "--seconds", "20", "--schedule", str(path))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--block-size 16", "--block-size: expected --engine with it, whose cache and context it is about"),
        ("--kv-cache 4GiB", "--kv-cache: expected --engine with it"),
        ("--max-model-len 4096", "--max-model-len: expected --engine with it"),
        ("--answer-tokens 4", "--answer-tokens: expected --engine with it"),
        ("--engine vllm --max-kv 100MiB", "--max-kv: expected no --engine with it, as a budget finds stages after"),
        ("--engine vllm --block-size 0", "--block-size"),
        ("--engine vllm --kv-cache lots", "got 'lots', expected bytes, such as 100MiB, 1.5GB or 4096"),
        ("--engine sglang", "'sglang' is not"),
        (
            "--engine vllm --seconds 20 --video 0.1 --audio 0.3 --max-model-len 1690",
            "expected at least 1691, for the pruned prompt of 1690 tokens and an answer of 1, got 1690",
        ),
        (
            "--engine vllm --seconds 20 --video 0.1 --audio 0.3 --max-model-len 2048 --kv-cache 112MiB",
            # 128 blocks of 0.875 MiB hold 2,048 tokens, and one more stays empty.
            "--kv-cache: expected at least 0.11 GiB, as vLLM starts with no less than a request of 2048 tokens takes",
        ),
    ],
)
def test_what_does_not_go_is_said(arguments: str, expected: str) -> None:
    assert expected in fail(*arguments.split())


def test_the_least_cache_is_a_block_more_than_the_context_takes() -> None:
    arguments = (*SHORT, "--max-model-len", "2048", "--kv-cache")
    assert serving(*arguments, str(129 * BLOCK))["pruned"]["at_once"] == 128 // 106
    assert "--kv-cache: expected at least" in fail("--engine", "vllm", *arguments, str(129 * BLOCK - 1))


def test_models_that_the_plugin_serves() -> None:
    assert sorted(ARCHITECTURES.values()) == sorted(plugin.ARCHITECTURES)
    for model in ("phi-4-multimodal-instruct", "qwen3-vl-30b-a3b-instruct"):
        said = fail("--engine", "vllm", model=model)
        assert "--engine: expected a model of qwen2_5_omni, " in said and f"got {model}" in said


@pytest.mark.parametrize(
    "model", ["3b", "qwen2.5-vl-7b-instruct", "qwen3-vl-8b-instruct", "qwen3-omni-30b-a3b-instruct"]
)
def test_every_family_that_is_served_can_be_planned(model: str) -> None:
    result = CliRunner().invoke(app, ["plan", model, "--engine", "vllm", "--seconds", "20", "--json"])
    found = json.loads(result.stdout)
    assert found["serving"]["whole"]["tokens"] == found["prompt"]["total"]
    assert found["serving"]["pruned"]["tokens"] == found["stages"][-1]["tokens"] < found["prompt"]["total"]
