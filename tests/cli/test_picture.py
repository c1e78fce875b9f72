"""The picture shows the tokens of the trace, at their place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from seats_ops import PruneTrace
from seats_ops.cli.picture import Row, _faded, draw
from seats_ops.cli.survivors import late_drop_layer, survivors
from seats_ops.trace.records import StageRecord

CONFIG = SimpleNamespace(video_token_id=8, audio_token_id=9)
# Two temporal patches of 1 x 2 tokens, each followed by its sound.
IDS = torch.tensor([[0, 8, 8, 9, 8, 8, 9, 9, 0]])


def record(layer: int, kept: list[int]) -> StageRecord:
    ids = IDS[0, kept].tolist()
    counts = {"text": ids.count(0), "video": ids.count(8), "audio": ids.count(9)}
    return StageRecord("stage", layer, [torch.tensor(kept)], len(kept), counts)


def test_rows_follow_the_trace() -> None:
    trace = PruneTrace([record(0, [0, 1, 3, 5, 7, 8]), record(16, [0, 5, 7, 8]), record(23, [0, 8])], [9])
    rows = survivors(trace, IDS, (2, 1, 2), CONFIG)
    assert [row.title for row in rows] == ["All tokens", "Before layer 1", "After layer 16"]
    assert rows[0].video.all()
    assert rows[0].audio.all()
    assert rows[1].video.tolist() == [[[True, False]], [[False, True]]]
    assert rows[1].audio.tolist() == [True, False, True]
    assert rows[2].video.tolist() == [[[False, False]], [[False, True]]]
    assert rows[2].audio.tolist() == [False, False, True]
    assert [row.detail for row in rows] == ["from the encoders", "stage", "stage"]
    assert late_drop_layer(trace) == 23


def test_a_schedule_without_a_late_drop_has_no_late_layer() -> None:
    assert late_drop_layer(PruneTrace([record(0, [0, 1, 8])], [9])) is None


def test_kept_patches_stay_and_dropped_ones_fade() -> None:
    frame = np.zeros((4, 8, 3), dtype=np.uint8)
    frame[..., 0] = 200
    kept = np.array([[True, False, False, False], [False, False, False, True]])
    shown = _faded(frame, kept)
    assert (shown[:2, :2] == frame[:2, :2]).all()
    assert (shown[2:, 6:] == frame[2:, 6:]).all()
    dropped = shown[:2, 2:]
    assert (dropped == dropped[..., :1]).all(), "grey"
    assert dropped.min() > 200, "nearly white"


@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("grids", [1, 5, 40])
def test_any_length_is_drawn(tmp_path: Path, sound: bool, grids: int) -> None:
    generator = np.random.default_rng(0)
    video, audio = generator.random((grids, 3, 4)) < 0.5, generator.random(25 * grids if sound else 0) < 0.5
    rows = [Row("All tokens", "", np.ones_like(video), np.ones_like(audio)), Row("Before layer 1", "", video, audio)]
    frames = generator.integers(0, 256, (grids, 45, 80, 3), dtype=np.uint8)
    mel = generator.random((128, 100 * grids)) if sound else None
    path = tmp_path / "picture.png"
    draw(
        path,
        rows,
        frames,
        mel,
        seconds=float(grids),
        window_seconds=2.0,
        title="A title",
        subtitle="Saved",
        notes=["A note"],
    )
    picture = np.asarray(Image.open(path).convert("RGB"))
    height, width, _ = picture.shape
    assert 1000 < width < 2000
    assert 300 < height < 4000
    # Ink on both halves: the labels on the left, the frames on the right.
    assert picture[:, : width // 8].std() > 5
    assert picture[:, width // 2 :].std() > 20
