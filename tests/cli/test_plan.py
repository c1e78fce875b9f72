"""`seats-ops plan` as it is typed: names, clips, budgets, what it prints, draws and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from seats_ops import ModalityDropper, Schedule, seats
from seats_ops.cli.app import app
from seats_ops.cli.checkpoints import checkpoints, named_checkpoint
from seats_ops.cost import PromptLengths, prefill_cost

pytestmark = pytest.mark.usefixtures("no_network")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["plan", *arguments])
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def printed(*arguments: str) -> Any:
    return json.loads(run("--json", *arguments))


def fail(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["plan", *arguments])
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    return " ".join(result.stderr.replace("│", " ").split())


def test_the_list() -> None:
    text = run("--list")
    assert all(one.name in text for one in checkpoints())
    assert {one["id"]: one["source"] for one in printed("--list")} == {one.id: one.source for one in checkpoints()}


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-VL-72B-Instruct", "QWEN3-vl-235b-a22b-instruct", "3b"])
def test_names(name: str) -> None:
    one = named_checkpoint(name)
    found = printed(name)
    assert (found["model"], found["source"]) == (one.id, one.source)
    assert f"Schedule on {one.name}" in run(name)


@pytest.mark.parametrize("one", checkpoints(), ids=lambda one: one.name)
def test_every_checkpoint_plans_a_minute(one: Any) -> None:
    """At R = 10 %, less than a quarter of the FLOPs: Phi-4's prompt is mostly text."""
    found = printed(one.id, "--seconds", "60")
    assert found["prompt"]["total"] == sum(found["prompt"][part] for part in ("text", "video", "audio")) > 800
    assert 0 < found["flops"] < 0.25 * found["full_flops"]
    assert len(found["tokens_per_layer"]) == len(found["flops_per_layer"]) == len(found["kv_bytes_per_layer"])
    assert sum(found["flops_per_layer"]) + found["lm_head_flops"] == found["flops"]
    own = [stage["selection_flops"] for stage in found["stages"]]
    # Nobody chooses from the prompt, nor looks at anything before the late drop.
    assert sum(own) == found["selection_flops"] and [n > 0 for n in own] == [False, *[True] * (len(own) - 2), False]
    assert found["unsaid"] == []
    assert sum(found["kv_bytes_per_layer"]) == found["kv_bytes"]


def test_two_minutes_on_the_7b() -> None:
    """120 temporal patches of 36 x 20 tokens, 25 audio tokens a second."""
    found = printed("--seconds", "120", "--fps", "2", "--resolution", "1280x720", "--text-tokens", "77")
    assert found["prompt"] == {"text": 77, "video": 86_400, "audio": 3000, "total": 89_477}
    assert found["clip"] == {
        "seconds": 120.0,
        "temporal_patches": 120,
        "height_tokens": 20,
        "width_tokens": 36,
        "timestamp_tokens": 0,
    }
    assert printed("--seconds", "120", "--no-sound")["prompt"]["audio"] == 0
    half = printed("--seconds", "120", "--max-frames", "120", "--max-pixels", "80000")
    assert half["clip"]["temporal_patches"] == 60
    assert half["prompt"]["video"] <= 60 * 80_000 // 28**2
    assert "86,400 video (120 x 20 x 36), 3,000 audio, 100 text" in run("--seconds", "120")
    assert "530 of it timestamps" in run("qwen3-vl-8b-instruct", "--seconds", "60")


def test_what_is_kept_stands_beside_what_was_asked_for() -> None:
    """By hand: of each of seven blocks of two tokens one stays, and the drops leave 7, 6 and 2 of the seven."""
    prompt = ("qwen3-vl-8b-instruct", "--video", "0.1", "--video-tokens", "14", "--grid-tokens", "1")
    assert "Kept, mean of 36 layers: video 36.7% (asked 10.0%)." in run(*prompt)
    found = printed(*prompt)
    assert found["mean_asked"] == {"video": pytest.approx(0.1, abs=1e-4)}
    assert found["mean_retention"] == {"video": (20 * 7 + 3 * 7 + 3 * 6 + 3 * 2) / (36 * 14)}
    assert printed("--video-tokens", "0", "--audio-tokens", "0")["mean_retention"] == {}


def test_a_budget_is_kept_and_its_ratios_give_the_same_plan() -> None:
    found = printed("--max-flops", "20e12")
    assert found["budget"] == {"max_flops": 20e12}
    assert 19.5e12 < found["flops"] <= 20e12 < found["full_flops"]
    ratios = found["ratios"]
    again = printed("--video", str(ratios["video"]), "--audio", str(ratios["audio"]))
    assert (again["flops"], again["schedule"]) == (found["flops"], found["schedule"])
    assert f"R = {found['retention']:.2%} fits: --video {ratios['video']:.4f}" in run("--max-flops", "20e12")
    assert "all tokens fit: nothing has to go" in run("--flops-share", "1")
    assert "R = 35.00% fits, the highest there are ratios for" in run("--flops-share", "0.5")


def test_exact_totals() -> None:
    """Ten blocks of 24 tokens: per block 0.105 of them are 2.52, so 3; together 25.2, so 25."""
    prompt = ("--video-tokens", "240", "--grid-tokens", "12", "--audio-tokens", "0", "--video", "0.075")
    for exact, kept in ((), 30), (("--exact-total",), 25):
        assert printed(*prompt, *exact)["tokens_per_layer"][0] == 598 + kept
    budget = (*prompt[:-2], "--kv-share", "0.8")
    rounded, exact = (printed(*budget, *more) for more in ((), ("--exact-total",)))
    assert rounded["schedule"] != exact["schedule"] and exact["kv_bytes"] <= 0.8 * exact["full_kv_bytes"]


def test_a_budget_of_memory() -> None:
    """Weights of 8,292,166,656 numbers of two bytes are 15.45 GiB."""
    arguments = ("qwen2.5-vl-7b-instruct", "--max-memory", "15.8GiB", "--kv-policy", "per-layer", "--seconds", "60")
    found = printed(*arguments)
    assert found["weight_bytes"] == 16_584_333_312
    assert 15.79 * 2**30 < found["weight_bytes"] + found["kv_bytes"] <= 15.8 * 2**30
    assert "Memory: weights 15.45 + KV cache 0.3" in run(*arguments)
    kept = printed("7b", "--max-kv", "100MiB", "--kv-policy", "per-layer")["kv_bytes"]
    assert 99 * 2**20 < kept <= 100 * 2**20


def test_a_schedule_of_ones_own_on_a_clip_and_on_another_model(tmp_path: Path) -> None:
    mine, config = tmp_path / "mine.json", tmp_path / "config.json"
    Schedule(after_layer={4: ModalityDropper()}).save(mine)
    found = printed("--schedule", str(mine), "--seconds", "10", "--plot", str(tmp_path / "mine.png"))
    assert found["ratios"] is found["retention"] is found["budget"] is None
    assert [stage["tokens"] for stage in found["stages"]] == [found["prompt"]["total"], 100]
    assert (tmp_path / "mine.png").is_file()
    sizes = {"hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"intermediate_size": 128, "vocab_size": 500, "model_type": "qwen2"}
    config.write_text(json.dumps(sizes))
    assert printed(str(config), "--schedule", str(mine))["stages"][1]["tokens"] == 598
    assert "config: expected that of a whole model" in fail(str(config), "--seconds", "3", "--schedule", str(mine))


@pytest.mark.parametrize("arguments", [(), ("--max-flops", "20e12"), ("phi-4-multimodal-instruct", "--seconds", "60")])
def test_the_picture(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    path = tmp_path / "plan.png"
    assert "Written to" in run(*arguments, "--plot", str(path))
    with Image.open(path) as picture:
        assert picture.size == (1200, 744)
        assert len(picture.convert("RGB").getcolors(2**20) or ()) > 50, "nothing is drawn"
    assert [file.name for file in tmp_path.iterdir()] == ["plan.png"]


def test_the_papers_prompt_is_still_the_default() -> None:
    config = named_checkpoint("7b").config()
    found = printed()
    assert found["prompt"] == {"text": 598, "video": 9600, "audio": 1570, "total": 11_768}
    assert Schedule.from_dict(found["schedule"]) == seats(config, video=0.06, audio=0.35)
    assert found["full_flops"] == prefill_cost(config, Schedule(), PromptLengths(text=11_768)).flops


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--fps 3", "--fps: expected --seconds with it"),
        ("--seconds 3 --video-tokens 4", "--video-tokens: expected either --seconds, which give the tokens, or token"),
        ("--max-flops 20e12 --video 0.1", "--video: expected either ratios or a budget"),
        ("--max-flops 1e12", "--max-flops: expected at least 4.65614e+12"),
        ("--max-memory 10GiB", "--max-memory: expected at least 17068.8 MiB"),
        ("--flops-share 1.5", "--flops-share: expected a number in [0, 1], got 1.5"),
        ("--max-kv 3x", "got '3x', expected bytes, such as 100MiB, 1.5GB or 4096"),
        ("--max-flops lots", "got 'lots', expected a number above 0, such as 20e12"),
        ("--seconds -3", "got '-3', expected a number above 0"),
        ("--seconds 9 --resolution 1280", "got '1280', expected width x height in pixels, such as 1280x720"),
        ("--seconds 9 --resolution 3000x2", "resolution: got 3000x2"),
        ("--plot plan.pdf", "--plot: got 'plan.pdf', expected a name that ends in .png"),
        (
            "qwen3-vl-2b-instruct --audio-tokens 9",
            "--audio-tokens: expected none, as qwen3-vl-2b-instruct takes no audio",
        ),
        ("qwen3-vl-2b-instruct --seconds 9 --sound", "--sound: expected none, as qwen3-vl-2b-instruct takes no audio"),
        (
            "phi-4-multimodal-instruct --seconds 9 --fps 1",
            "--fps: expected none, as phi-4-multimodal-instruct takes no",
        ),
        ("Qwen2.5-Omni-70B", "or one of 7b, 3b, Phi-4-multimodal-instruct, Qwen2.5-Omni-3B, Qwen2.5-Omni-7B"),
    ],
)
def test_what_does_not_go_is_said(arguments: str, expected: str) -> None:
    assert expected in fail(*arguments.split())


def test_a_schedule_stands_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    Schedule(after_layer={4: ModalityDropper()}).save(mine)
    assert "--exact-total: expected no --schedule with it" in fail("--schedule", str(mine), "--exact-total")
    said = fail("--schedule", str(mine), "--max-flops", "20e12")
    assert "--max-flops: expected no --schedule with it, which has its ratios already" in said


@pytest.mark.parametrize(
    ("text", "size"), [("4096", 4096), ("1.5GB", 1_500_000_000), ("100 MiB", 104_857_600), ("2kib", 2048), ("7b", 7)]
)
def test_sizes(text: str, size: int) -> None:
    from seats_ops.cli.plan_command import byte_size

    assert byte_size(text) == size
