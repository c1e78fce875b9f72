"""The commands as a user types them."""

from __future__ import annotations

import builtins
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from rich.console import Console
from typer.testing import CliRunner

import seats_ops.cli
from seats_ops import DiversitySelector, ModalityDropper, PruneTrace, Schedule, StagePruner, seats
from seats_ops.cli import app as app_module
from seats_ops.cli import demo as demo_module
from seats_ops.cli.app import app
from seats_ops.cli.clip import load_clip
from seats_ops.cli.inputs import own_inputs
from seats_ops.cli.model import qwen2_5_omni_7b_config


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def fail(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code != 0, result.output
    assert not isinstance(result.exception, (ValueError, TypeError, OSError)), "a traceback instead of a message"
    return " ".join(result.output.split())


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch, tiny_model: Any) -> None:
    monkeypatch.setattr(demo_module.models, "random_model", lambda *args, **kwargs: tiny_model)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    tiny_model.save_pretrained(path)
    return path


@pytest.mark.usefixtures("small_demo")
def test_demo(tmp_path: Path) -> None:
    text = run("demo", "--out", str(tmp_path), "--frame-tokens", "40", "--repeats", "1", "--max-new-tokens", "2")
    assert text.startswith("Big Buck Bunny (5.3 s, 160 video and 133 audio tokens) on Qwen2.5-Omni video audio tokens")
    assert "Random weights" in text and "the answers mean nothing" in text
    for name in ("all tokens", "SEATS 35%", "SEATS 25%", "SEATS 15%", "SEATS 10%"):
        assert text.count(name) == 1, "one table, and nothing about steps"
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {f"seats-{n}.{kind}" for n in (35, 25, 15, 10) for kind in ("html", "png", "json")} | {
        "report.json"
    }
    assert text.endswith(f"Open {tmp_path / 'seats-10.html'} in a browser.")
    shown = (tmp_path / "seats-10.html").read_text()
    assert re.search(r'"clock":"CPU time of \d+ threads?, .*; median of 1 prefill\(s\) run for this alone"', shown)
    assert len(re.findall(r'"seconds":\[([^\]]+)\]', shown)[0].split(",")) == 28

    report = json.loads((tmp_path / "report.json").read_text())
    assert [entry["name"] for entry in report["runs"]][1:] == ["SEATS 35%", "SEATS 25%", "SEATS 15%", "SEATS 10%"]
    for entry in report["runs"][1:]:
        trace = PruneTrace.load(tmp_path / f"seats-{entry['name'][6:8]}.json")
        schedule = Schedule.from_dict(entry["schedule"])
        assert [stage.layer for stage in trace.stages] == [0, *schedule.after_layer]
        assert trace.stages[-1].counts["video"] == trace.stages[-1].counts["audio"] == 0
        assert entry["answer"] and len(entry["answer_token_ids"]) == 2
    assert report["prompt_tokens"] == {"text": 67, "video": 160, "audio": 133}


@pytest.mark.usefixtures("small_demo")
def test_the_demo_fits_a_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "console", lambda: Console(width=80, highlight=False))
    arguments = ("demo", "--out", str(tmp_path), "--frame-tokens", "40", "--repeats", "2", "--max-new-tokens", "1")
    lines = CliRunner().invoke(app, arguments).stdout.splitlines()
    assert len(lines) <= 24
    assert all(len(line.rstrip()) <= 80 for line in lines[:-1]), "the last one is a path, in one piece"
    assert "all tokens" in lines[5] and lines[-1].startswith("Open ")


@pytest.mark.usefixtures("small_demo")
def test_the_demo_with_schedules_of_ones_own(tmp_path: Path) -> None:
    """Nothing to drop, no late drop, two stages in one place, only sound left, no picture of any drop."""
    schedules = {
        "nothing": Schedule(),
        "Deaf [b]": Schedule(DiversitySelector({"video": 0.25}), {4: [StagePruner(0.5), ModalityDropper(("audio",))]}),
        "blind": Schedule(after_layer={2: ModalityDropper(("video",))}),
        "text": Schedule(after_layer={1: ModalityDropper()}),
    }
    paths = [tmp_path / f"{name}.{kind}" for name, kind in zip(schedules, ("json", "yaml", "yml", "json"), strict=True)]
    for path, schedule in zip(paths, schedules.values(), strict=True):
        schedule.save(path)
    out = tmp_path / "out"
    text = run(
        "demo", "--out", str(out), "--frame-tokens", "40", "--repeats", "1", "--max-new-tokens", "1",
        *[part for path in paths for part in ("--schedule", str(path))],
    )  # fmt: skip
    assert "Deaf [b]" in text and "SEATS" not in text
    assert text.endswith(f"Open {out / 'text.html'} in a browser.")
    slugs = ("nothing", "deaf-b", "blind", "text")
    assert {path.name for path in out.iterdir()} == {f"{s}.{k}" for s in slugs for k in ("html", "png", "json")} | {
        "report.json"
    }
    report = json.loads((out / "report.json").read_text())
    assert [Schedule.from_dict(entry["schedule"]) for entry in report["runs"][1:]] == list(schedules.values())
    everything, nothing, deaf, blind, only_text = report["runs"]
    assert nothing["flops"] == everything["flops"] and nothing["kv_bytes"] == everything["kv_bytes"]
    assert nothing["mean_retention"] == {"video": 1.0, "audio": 1.0}
    assert blind["mean_retention"] == {"video": pytest.approx(2 / 28), "audio": 1.0}
    assert only_text["mean_retention"] == {"video": pytest.approx(1 / 28), "audio": pytest.approx(1 / 28)}
    assert deaf["mean_retention"]["audio"] == pytest.approx(4 / 28)
    for name in slugs:
        items = PruneTrace.load(out / f"{name}.json").items
        assert [item.modality for item in items] == ["video", "audio"], "frames and sound have their place on the page"


def test_demo_on_a_checkpoint_and_another_video(
    tmp_path: Path, checkpoint: Path, make_video: Callable[..., Path]
) -> None:
    """The checkpoint carries no processor, so the demo's own preparation serves."""
    text = run(
        "demo", "--model", str(checkpoint), "--video", str(make_video()), "--out", str(tmp_path),
        "--question", "What colour is [bold]it[/bold]?", "--repeats", "1", "--max-new-tokens", "2", "--max-frames", "4",
        "--kv-policy", "per-layer", "--backend", "reference", "--device", "cpu",
    )  # fmt: skip
    assert "the demo's preparation, as the model's own processor does not load" in text
    assert text.startswith("clip.mp4 (5.0 s, ")
    assert "What colour is [bold]it[/bold]?" in text
    assert "random" not in text
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["runs"][0]["flops"]) == ["here"]
    trace = PruneTrace.load(tmp_path / "seats-10.json")
    assert trace.kv_lengths[0] == trace.stages[0].num_tokens, "per-layer: the first layers keep what they saw"


def test_demo_with_a_models_own_processor(
    tmp_path: Path, checkpoint: Path, make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tiny_config: Any
) -> None:
    """Frames and sound go to the processor as decoded, and what it returns goes to the model."""
    seen: dict[str, Any] = {}
    clip = load_clip(make_video())

    class Processor:
        def apply_chat_template(self, conversation: list[Any], **kwargs: Any) -> str:
            return f"{conversation[-1]['content'][-1]['text']} {kwargs}"

        def __call__(self, **kwargs: Any) -> dict[str, Any]:
            seen.update(kwargs)
            inputs = own_inputs(clip, "What?", tiny_config, frame_tokens=12)
            del inputs["use_audio_in_video"]
            return inputs

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", lambda model: Processor())
    text = run(
        "demo", "--model", str(checkpoint), "--video", str(make_video()), "--out", str(tmp_path),
        "--question", "Who?", "--repeats", "1", "--max-new-tokens", "1",
    )  # fmt: skip
    assert "prepared by the model's own processor" in text
    assert seen["text"] == ["Who? {'tokenize': False, 'add_generation_prompt': True}"]
    assert seen["videos"][0].shape == (10, 3, 64, 112)
    assert seen["audio"][0].shape == clip.sound.shape if clip.sound is not None else False
    assert seen["load_audio_from_video"] is True
    assert (seen["do_sample_frames"], seen["fps"], seen["audio_from_video_indices"]) == (False, 2.0, [0])


@pytest.mark.usefixtures("small_demo")
def test_demo_on_a_silent_video(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    video = make_video(sound_seconds=None)
    text = run(
        "demo", "--video", str(video), "--out", str(tmp_path), "--frame-tokens", "12", "--repeats", "1",
        "--max-new-tokens", "1",
    )  # fmt: skip
    assert "video tokens, silent) on Qwen2.5-Omni" in text
    assert (tmp_path / "seats-25.png").is_file()


def test_demo_errors_are_one_line(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    out = str(tmp_path / "out")
    assert "--video" in fail("demo", "--video", str(tmp_path / "none.mp4"), "--out", out)
    assert "seats-ops: " in fail("demo", "--video", str(text), "--out", out)
    assert "device: got 'toaster'" in fail("demo", "--video", str(make_video()), "--device", "toaster", "--out", out)
    assert "uniform" in fail("demo", "--kv-policy", "none", "--out", out)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("small_demo")
def test_a_folder_that_cannot_be_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(demo_module, "measure", lambda *args, **kwargs: pytest.fail("it was measured"))
    said = fail("demo", "--out", str(tmp_path / "file"), "--frame-tokens", "40")
    assert "--out: expected a folder to write to, got" in said


def test_plan_reproduces_the_papers_flops(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    text = run("plan", "--schedule-json", str(path))
    # arXiv 2605.20035, main results: 111.0 TFLOPs for all tokens, 12.2 at R = 10 (6-35).
    assert "12.2 of 111.0 TFLOPs" in text
    schedule = Schedule.from_dict(json.loads(path.read_text()))
    assert schedule == seats(qwen2_5_omni_7b_config(), video=0.06, audio=0.35)


def test_plan_reads_a_config_from_a_folder(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((checkpoint / "config.json").read_text())
    text = run("plan", str(tmp_path), "--video", "0.2", "--audio", "0.55", "--kv-policy", "per-layer")
    assert "StagePruner" in text
    assert "per-layer" in text


def test_plan_errors_name_the_argument() -> None:
    assert "video: expected encoder_ratio_scale * video <= 1" in fail("plan", "--video", "0.9")
    assert "--video-tokens" in fail("plan", "--video-tokens", "-1")


def test_inspect_prints_a_saved_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(
        json.dumps(
            {
                "format": 1,
                "prompt_lengths": [1234],
                "prompt_counts": {"text": 34, "video": 1000, "audio": 200},
                "kv_lengths": [77, 77, 34],
                "stages": [
                    {
                        "name": "StagePruner",
                        "layer": 2,
                        "num_tokens": 77,
                        "counts": {"text": 34, "video": 40, "audio": 3},
                        "kept_indices": [[5, 8]],
                        "budgets": [[25, 1], [15, 2]],
                    }
                ],
            }
        )
    )
    text = run("inspect", str(path), "--indices")
    for part in ("1,234", "after layer 2", "40 (4.0%)", "25 + 1", "15 + 2", "77 (layers 1-2), 34 (layer 3)", "[5, 8]"):
        assert part in text
    assert "Kept, mean of 3 layers: video 68.0%, audio 67.2%" in text


@pytest.mark.parametrize("content", ["", "[]", '{"format": 7}', '{"format": 1}', "\xff"])
def test_inspect_refuses_another_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content.encode("latin-1"))
    assert "seats-ops: " in fail("inspect", str(path))


def trace_with(**entries: Any) -> str:
    stage = {"name": "A", "layer": 0, "num_tokens": 1, "counts": {}, "kept_indices": [[0]], "budgets": None}
    empty = {"format": 1, "prompt_lengths": [1], "prompt_counts": {}, "kv_lengths": [], "stages": [stage | entries]}
    return json.dumps(empty)


def test_inspect_shows_names_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "[red]x.json"
    path.write_text(trace_with(name="[bold]A[/i]"))
    text = run("inspect", str(path), "--indices")
    assert "[bold]A[/i]" in text and "[red]x.json" in text


@pytest.mark.parametrize("content", [trace_with(name=["x"]), trace_with().replace("[{", "{", 1).replace("}]", "}", 1)])
def test_inspect_refuses_what_is_nearly_a_trace(tmp_path: Path, content: str) -> None:
    path = tmp_path / "nearly.json"
    path.write_text(content)
    assert "seats-ops: trace: expected" in fail("inspect", str(path))


def test_plan_refuses_a_file_that_is_nested_without_end(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("[" * 100_000)
    assert "seats-ops: " in fail("plan", str(path))


def test_demo_options_that_do_not_fit(tmp_path: Path) -> None:
    assert "--dtype: expected auto" in fail("demo", "--dtype", "bfloat16")


def test_env_names_versions_and_no_paths() -> None:
    text = run("env")
    assert torch.__version__ in text
    assert transformers.__version__ in text
    assert "max_min_diversity" in text
    assert str(Path.home()) not in text
    assert sys.prefix not in text


def test_missing_packages_of_the_command_line_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_typer(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "typer":
            raise ModuleNotFoundError("No module named 'typer'", name="typer")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "seats_ops.cli.app")
    monkeypatch.setattr(builtins, "__import__", without_typer)
    with pytest.raises(SystemExit, match=r"needs the package typer: pip install 'seats_ops\[demo\]'"):
        seats_ops.cli.main()
