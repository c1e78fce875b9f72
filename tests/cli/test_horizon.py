"""`seats-ops horizon` as a user types it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from seats_ops import Schedule
from seats_ops.cli import model as models
from seats_ops.cli import thinker
from seats_ops.cli.app import app
from seats_ops.cli.horizon_options import HorizonOptions
from seats_ops.cli.options import Options
from seats_ops.cost import asked_retention
from seats_ops.horizon import measure_horizon
from tests.horizon.models import read_until
from tests.integrations.huggingface.models import randomise

READS, LAYERS = 5, 8
QUESTIONS = ("Who?", "[b]What is heard?", "Where is it now?", "How many are there?", "Why?")

pytestmark = pytest.mark.usefixtures("no_network")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["horizon", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.stdout.split()), " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def reader(tiny_config: Any) -> Any:
    """Reads its media in five of its eight layers."""
    config = copy.deepcopy(tiny_config)
    config.text_config.num_hidden_layers = LAYERS
    config.text_config.layer_types = config.text_config.layer_types[:LAYERS]
    model = models.random_model(config)
    randomise(model, 0)
    return read_until(model, READS)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, reader: Any) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    reader.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def video(make_video: Callable[..., Path]) -> Path:
    return make_video(frames=32, sound_seconds=2.0)


def asked(questions: tuple[str, ...] = QUESTIONS) -> list[str]:
    return ["--frame-tokens", "8", *(word for question in questions for word in ("--question", question))]


def test_a_checkpoint_gets_the_layers_that_it_needs(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "late.yaml", tmp_path / "curve.png"
    status, said, progress = run(
        *(
            checkpoint,
            video,
            *asked(),
            "--layers",
            "0,2,4-7",
            "--schedule-out",
            out,
            "--video",
            0.2,
            "--audio",
            0.3,
            "--plot",
            picture,
        )
    )
    assert status == 0, progress
    assert "Agreement with all tokens once some have left, mean of 5 prompts" in said
    assert "5, late 100% 100–100 0.000 100% 0.000 100% 0.000" in said
    assert "The same where 20% of every modality stay" in said and "-0.000" not in said
    assert f"late_layer: {READS + 1}; drop_layers:" in said
    assert "random" not in said and "is no quality" in said
    assert "5 of 5: clip: Why?" in progress and "[b]What" in progress
    assert said.endswith(f"Written to {picture} Written to {out}") and picture.read_bytes().startswith(b"\x89PNG")
    written = Schedule.load(out)
    layers = [layer for layer, _ in written.stages()]
    assert (layers[0], layers[-1]) == (0, READS)
    asked_for = asked_retention(written, LAYERS)
    assert (asked_for["video"], asked_for["audio"]) == (pytest.approx(0.2, abs=1e-4), pytest.approx(0.3, abs=1e-4))
    planned = CliRunner().invoke(app, ["plan", str(checkpoint), "--schedule", str(out), "--json"])
    assert planned.exit_code == 0, planned.output


def test_json_has_every_number(checkpoint: Path, video: Path) -> None:
    status, said, _ = run(checkpoint, video, *asked(), "--layers", "0, 4-5", "--share", 0.1, "--json")
    assert status == 0
    found = json.loads(said)
    assert found["layers"] == [0, 4, 5] and found["share"] == 0.1 and found["num_layers"] == LAYERS
    assert [row.removeprefix("clip: ") for row in found["rows"]] == list(QUESTIONS) and found["failed"] == {}
    cells = {(cell["way"], cell["layer"]): cell for cell in found["cells"]}
    assert len(cells) == 3 + 2 * 5 and cells["media", 5]["agreement"] == [1.0] * 5
    assert found["suggestion"]["late_layer"] == 6


def test_clips_of_a_file_and_one_that_is_damaged(
    video: Path, tmp_path: Path, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thinker.models, "random_model", lambda *_, **__: reader)
    (tmp_path / "bad.mp4").write_bytes(video.read_bytes()[:900])
    lines = [{"video": "bad.mp4"}, {"video": str(video), "question": "Who?"}]
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "late.yaml"
    asking = ("--clips", tmp_path / "clips.jsonl", "--frame-tokens", 8, "--layers", "0,5", "--schedule-out", out)
    status, said, told = run(*asking)
    assert status == 1 and "bad: video: bad.mp4 is damaged" in told
    assert "mean of 1 prompt " in said and "The weights are random" in said and "late_layer" not in said
    assert "Nothing is suggested from 1 prompt: it takes 5 for an interval." in said
    assert told.endswith(
        "--schedule-out: nothing was written. " + said[said.index("Nothing is") :].split("The weights")[0].strip()
    )
    assert not out.exists()


def test_the_command_says_what_the_library_says(checkpoint: Path, video: Path, reader: Any) -> None:
    from seats_ops.cli.clip import load_clip
    from seats_ops.cli.inputs import own_inputs

    inputs = own_inputs(load_clip(video), "Who?", reader.config, frame_tokens=8)
    found = measure_horizon(reader, [inputs], layers=[2], answer_tokens=2, kv_policy="per-layer", seed=3)
    options = ("--layers", 2, "--answer-tokens", 2, "--kv-policy", "per-layer", "--seed", 3, "--json")
    status, said, _ = run(checkpoint, video, *asked(("Who?",)), *options)
    assert status == 0
    cells = json.loads(said)["cells"]
    assert {(cell["way"], cell["layer"]): tuple(cell["kl"]) for cell in cells} == {
        key: pytest.approx(cell.kl, abs=1e-6) for key, cell in found.cells.items()
    }


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("{video}",), "CHECKPOINT: expected a folder or a Hugging Face id before the clips, got the file"),
        (("none/such/folder", "{video}"), "model: got 'none/such/folder', expected a checkpoint folder"),
        (("--clips", "{clips}", "x/y", "{video}"), "--clips: expected no clip beside it"),
        (("--clips", "{clips}", "--question", "a", "--question", "b"), "--question: expected one with --clips"),
        (("--question", "a", "--question", "a"), "--question: expected each once"),
        (("--video", "0.1"), "--video: expected --schedule-out with it"),
        (("--audio", "0.1"), "--audio: expected --schedule-out with it"),
        (("--schedule-out", "late.txt"), "--schedule-out: got 'late.txt', expected a name that ends in .json or"),
        (("--schedule-out", "{there}"), "expected a new file (it exists)"),
        (("--plot", "curve.jpg"), "--plot: got 'curve.jpg', expected a name that ends in .png"),
        (("--threshold", "0"), "--threshold: expected an agreement above 0, up to 1, got 0"),
        (("--threshold", "nan"), "--threshold: expected an agreement above 0"),
        (("--share", "0"), "--share: expected a share above 0, up to 1, got 0"),
        (("--layers", "first"), "--layers: expected numbers and ranges, such as 0,8-20,27, got 'first'"),
        (("--layers", "5-2"), "--layers: expected ranges that ascend, got '5-2'"),
        (("--dtype", "float16"), "--dtype: expected auto, as there is no checkpoint"),
    ],
)
def test_options_that_cannot_be(
    tmp_path: Path, video: Path, arguments: tuple[str, ...], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there.yaml").write_text("")
    (tmp_path / "clips.jsonl").write_text('{"video": "a.mp4"}\n')
    monkeypatch.chdir(tmp_path)
    places = {"video": video, "clips": tmp_path / "clips.jsonl", "there": tmp_path / "there.yaml"}
    status, said, told = run(*(argument.format(**places) for argument in arguments))
    assert (status, said) == (1, "") and error in told


def test_what_does_not_fit_the_model_is_said_before_it_runs(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "late.yaml"
    status, said, told = run(checkpoint, video, "--schedule-out", out, "--video", 0.0, "--layers", "8")
    assert (status, said) == (1, "") and "layers: expected ints from 0 to 7, got [8]" in told
    assert "1 of 1" not in told


def options(**changes: Any) -> HorizonOptions:
    given = dict.fromkeys(("clips", "layers", "video", "audio", "schedule_out", "plot"))
    fixed = {"clip": (), "questions": ("?",), "share": 0.2, "answer_tokens": 1, "threshold": 0.99, "as_json": False}
    return HorizonOptions(run=Options(out=Path(), question=""), **{**given, **fixed, **changes})


def test_layers_as_typed() -> None:
    assert options().chosen_layers() is None
    assert options(layers="0, 8-11,27").chosen_layers() == [0, 8, 9, 10, 11, 27]
    assert options(layers="3").chosen_layers() == [3]
