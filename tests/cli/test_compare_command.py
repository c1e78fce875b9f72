"""`seats-ops compare` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from seats_ops import ModalityDropper, Schedule
from seats_ops.cli import thinker
from seats_ops.cli.app import app
from seats_ops.cli.clip_list import ClipQuestion, read_clips
from seats_ops.cli.comparing import retention_percents


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.stdout.split()), " ".join(result.stderr.split())


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_model: Any) -> None:
    monkeypatch.setattr(thinker.models, "random_model", lambda *_, **__: tiny_model)


@pytest.fixture
def clips(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    (tmp_path / "good.mp4").symlink_to(make_video(frames=32, sound_seconds=None))
    (tmp_path / "bad.mp4").write_bytes((tmp_path / "good.mp4").read_bytes()[:900])
    lines = [
        {"video": "bad.mp4", "question": "?"},
        {"video": "good.mp4", "question": "[b]What?"},
        {"video": "gone.mp4"},
    ]
    path = tmp_path / "clips.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_bad_clips_are_reported_and_what_was_measured_is_kept(tiny: None, clips: Path, tmp_path: Path) -> None:
    Schedule(after_layer={2: [ModalityDropper()]}).save(tmp_path / "late.json")
    out = tmp_path / "out"
    asked = ("--clips", clips, "--schedule", tmp_path / "late.json", "--out", out, "--frame-tokens", 16, "--repeats", 1)
    status, said, progress = run(*asked, "--max-new-tokens", 2)
    assert status == 1
    assert "Agreement with all tokens, mean of 1 prompt " in said and "late" in said
    assert "random" in said and "does not say which of the two is right" in said
    assert "bad: video: bad.mp4 is damaged" in said
    assert f"gone: video: expected a file to read, got {tmp_path}/gone.mp4 (No such file or directory)" in said
    assert said.endswith(f"Open {out}/index.html in a browser.")
    assert "1 of 3: bad" in progress and "3 of 3: gone" in progress
    before = (out / "prompts.jsonl").read_text()
    # A clip that is there now is taken in; the others stay as they are.
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "good.mp4")
    (tmp_path / "bad.mp4").unlink()
    (tmp_path / "bad.mp4").symlink_to(tmp_path / "good.mp4")
    status, said, progress = run(*asked, "--max-new-tokens", 2, "--json")
    assert status == 0 and "good" not in progress
    found = json.loads(said)
    assert sorted(record["name"] for record in found["records"]) == ["bad", "gone", "good"] and not found["failed"]
    assert (out / "prompts.jsonl").read_text().startswith(before)
    status, _, error = run(*asked, "--max-new-tokens", 3)
    assert status == 1 and "same settings, got one with max_new_tokens 2, now 3" in error


def test_a_schedule_for_a_deeper_model_is_refused_before_anything_runs(tiny: None, clips: Path, tmp_path: Path) -> None:
    Schedule(after_layer={40: [ModalityDropper()]}).save(tmp_path / "deep.json")
    status, said, error = run("--clips", clips, "--schedule", tmp_path / "deep.json", "--out", tmp_path / "out")
    assert (status, said) == (1, "")
    assert (
        "schedules['deep']: schedule: expected layers from 1 to 27, as a layer has to run after a drop, got [40]"
        in error
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--retention", "20"), "--retention: expected some of 35, 25, 15, 10, each once"),
        (("--retention", "10,10"), "each once"),
        (("--retention", ""), "--retention: expected some of"),
        (("--dtype", "float16"), "--dtype: expected auto, as there is no checkpoint"),
        (("--clips", "{clips}", "--video", "{clips}"), "--clips, --video: expected one of them"),
        (("--schedule", "{clips}"), "clips.jsonl"),
        (("--schedule", "{clips}", "--retention", "10"), "--schedule, --retention: expected one of them"),
    ],
)
def test_options_that_cannot_be(clips: Path, tmp_path: Path, arguments: tuple[str, ...], error: str) -> None:
    given = [argument.format(clips=clips) for argument in arguments]
    status, said, stderr = run(*given, "--out", tmp_path / "out")
    assert (status, said) == (1, "") and error in stderr
    assert not (tmp_path / "out").exists()


def test_all_the_papers_ratios_or_some() -> None:
    assert [percent for percent, _ in retention_percents(None)] == [35, 25, 15, 10]
    assert retention_percents("10, 35%") == [(10, (0.06, 0.35)), (35, (0.30, 0.65))]


def test_lines_of_clips(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "clips.jsonl"
    path.parent.mkdir()
    lines = ['{"video": "a.mp4"}', "", '{"video": "/b/a.mp4", "question": "Who?"}', '{"video": "c.mov", "name": "x/y"}']
    path.write_text("\n".join(lines))
    assert read_clips(path, "What?") == [
        ClipQuestion("a 1", path.parent / "a.mp4", "What?", 1),
        ClipQuestion("a 3", Path("/b/a.mp4"), "Who?", 3),
        ClipQuestion("x/y", path.parent / "c.mov", "What?", 4),
    ]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("clip.mp4", r"line 2: expected a JSON object, got 'clip.mp4'"),
        ("[1]", r"line 2: expected a JSON object"),
        ('{"question": "?"}', r"line 2: video: expected text, got nothing"),
        ('{"video": 3}', r"line 2: video: expected text, got 3"),
        ('{"video": "a.mp4", "question": " "}', r"line 2: question: expected text, got ' '"),
        ('{"video": "a.mp4", "vidoe": 1}', r"line 2: expected fields among video, question, name, got vidoe"),
        ('{"video": "b.mp4", "name": "x"}', r"lines 1 and 2: name: expected one of its own, got 'x'"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, error: str) -> None:
    path = tmp_path / "clips.jsonl"
    path.write_text('{"video": "a.mp4", "name": "x"}\n' + line + "\n")
    with pytest.raises(ValueError, match=error):
        read_clips(path, "What?")


def test_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "clips.jsonl"
    path.write_text("\n")
    with pytest.raises(ValueError, match="--clips: expected a JSON object per line, got no lines"):
        read_clips(path, "What?")
