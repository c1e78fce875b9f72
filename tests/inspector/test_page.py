"""What goes into a page, and what is refused before anything is written."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seats_ops import PruneTrace, TokenLayout
from seats_ops.inspector import Media, page
from tests.inspector.example import TITLE, example, media_of


def data_of(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_page_holds_everything_and_asks_for_nothing() -> None:
    config, trace = example()
    text = page(trace, media=media_of(trace), config=config)
    assert "default-src 'none'" in text and not re.search(r"https?://|src=\"(?!data:)|@import|url\(", text)
    data = data_of(text)
    assert data["title"] == TITLE and TITLE not in text
    assert [len(item.get("frames", ())) for item in data["items"] if item["modality"] == "video"] == [6, 2]
    assert data["runs"][0]["layers"]["tokens"][0] == trace.stages[0].num_tokens


def test_frames_of_a_long_video_are_thinned_out_evenly() -> None:
    _, trace = example()
    item = dataclasses.replace(trace.items[0], grid=(600, 1, 1), num_tokens=600)
    found = page(_with(trace, items=[item]), media=Media(frames=[np.zeros((600, 4, 4, 3), np.uint8)]))
    assert (data_of(found)["items"][0]["every"], len(data_of(found)["items"][0]["frames"])) == (3, 200)


def _with(trace: PruneTrace, **changes: Any) -> PruneTrace:
    return dataclasses.replace(trace, **changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": [np.zeros((6, 4, 4, 3), np.uint8)]}, "media.frames: expected 2 as the prompt has, got 1"),
        (
            {"frames": [np.zeros((5, 4, 4, 3), np.uint8), np.zeros((2, 4, 4, 3), np.uint8)]},
            r"media.frames\[0\]: expected 6 frames, one for every temporal grid, got 5",
        ),
        (
            {"frames": [np.zeros((6, 4, 4, 3))] * 2},
            r"frames\[0\]: expected uint8 \[t, height, width, 3\], got float64",
        ),
        (
            {"sounds": [np.zeros((16, 900), np.float32)]},
            r"media.sounds\[0\]: expected 2.\d+ s of sound, as long as",
        ),
        (
            {"pictures": [np.zeros((4, 4), np.uint8)]},
            r"pictures\[0\]: expected uint8 \[height, width, 3\], got uint8",
        ),
    ],
)
def test_other_media_are_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    _, trace = example()
    with pytest.raises(ValueError, match=said):
        trace.to_html(tmp_path / "page.html", dataclasses.replace(media_of(trace), **change))
    assert list(tmp_path.iterdir()) == []


def test_traces_without_tokens_are_refused_by_format(tmp_path: Path) -> None:
    _, trace = example()
    old = json.loads(trace.to_json())
    old["format"] = 1
    for name in ("layout", "items", "saliency"):
        del old[name]
    for stage in old["stages"]:
        del stage["scores"]
    read = PruneTrace.from_json(json.dumps(old))
    assert read.stages[0].num_tokens == trace.stages[0].num_tokens and read._repr_html_() is None
    for empty in (read, PruneTrace()):
        with pytest.raises(ValueError, match=r"trace: expected one that knows its tokens \(format 2\)"):
            empty.to_html(tmp_path / "page.html")


def test_another_prompt_is_no_other_trace() -> None:
    _, trace = example()
    layout = trace.layout
    assert layout is not None
    moved = TokenLayout(layout.modality, layout.position + 1, layout.cu_seqlens, layout.block, layout.window)
    with pytest.raises(ValueError, match="other: expected a trace of the same prompt"):
        page(trace, other=_with(trace, layout=moved))
    with pytest.raises(ValueError, match=r"row: expected one of 1 prompt\(s\), got 1"):
        page(trace, row=1)


def test_seconds_are_those_of_the_layers(tmp_path: Path) -> None:
    config, trace = example()
    seconds = [0.001 * layer for layer in range(7)]
    data = data_of(page(trace, config=config, layer_seconds=[seconds], layer_clock="a sundial"))
    assert (data["clock"], data["runs"][0]["seconds"]) == ("a sundial", seconds)
    with pytest.raises(ValueError, match=r"layer_seconds\[0\]: expected one for each of 7 layers, got 6"):
        trace.to_html(tmp_path / "page.html", layer_seconds=[seconds[:6]])
    with pytest.raises(ValueError, match=r"layer_seconds: expected one list for each of 1 trace\(s\), got"):
        trace.to_html(tmp_path / "page.html", layer_seconds=[seconds, seconds])
    assert list(tmp_path.iterdir()) == []


def test_another_schedule_may_make_other_blocks() -> None:
    _, trace = example()
    layout = trace.layout
    assert layout is not None
    other = TokenLayout(layout.modality, layout.position, layout.cu_seqlens, None, layout.window)
    first, second = data_of(page(trace, other=_with(trace, layout=other)))["runs"]
    assert first["window"] == second["window"] and first["block"] != second["block"]


def test_a_path_that_exists_is_kept(tmp_path: Path) -> None:
    _, trace = example()
    path = tmp_path / "page.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"path: expected one that does not exist, got .*page\.html; exist_ok"):
        trace.to_html(path)
    assert path.read_text() == "mine"
    assert trace.to_html(path, exist_ok=True).read_text().startswith("<!doctype html>")


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, os.strerror(28))

    _, trace = example()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left.*page\.html"):
        trace.to_html(tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_shows_the_same_page() -> None:
    _, trace = example()
    shown = trace._repr_html_()
    assert shown is not None and shown.startswith("<iframe srcdoc=") and "<script>" not in shown
    assert torch.equal(trace.stages[0].kept_indices[0], example()[1].stages[0].kept_indices[0])


def test_media_that_are_none_are_named() -> None:
    _, trace = example()
    with pytest.raises(TypeError, match=r"media: expected a seats_ops\.inspector\.Media, got .*clip\.mp4"):
        page(trace, media="clip.mp4")  # type: ignore[arg-type]


def test_kept_columns_that_are_not_as_many_as_counted_are_refused() -> None:
    _, trace = example()
    stored = json.loads(trace.to_json())
    stored["stages"][0]["kept_indices"][0].append(10**9)
    left = trace.stages[0].num_tokens
    with pytest.raises(ValueError, match=f"expected {left} kept_indices, got {left + 1}"):
        PruneTrace.from_json(json.dumps(stored))
