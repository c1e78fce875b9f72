"""The docs' pictures: with `--pictures FOLDER` they are taken of pages in a browser, and written."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from seats_ops import PruneTrace, Schedule
from seats_ops.cli.clip import bundled_clip, load_clip
from seats_ops.cli.inputs import own_inputs
from seats_ops.cli.model import demo_config, random_model
from seats_ops.cli.report import media_of
from seats_ops.cli.run import last_logits_only
from seats_ops.inspector import Media, page
from seats_ops.integrations import attach
from tests.inspector.conftest import WIDE, Open, until

DOCS = Path(__file__).parent.parent.parent / "docs"
LARGEST = 300_000


def gallery() -> dict[str, Schedule]:
    """The schedules of docs/gallery.md, by the names that it gives them."""
    document = Sybil([PythonCodeBlockParser()]).parse(DOCS / "gallery.md")
    for example in document.examples():
        example.evaluate()
    found = document.namespace.items()
    return {name: value for name, value in found if isinstance(value, Schedule) and name != "schedule"}


def test_every_schedule_of_the_gallery_has_its_diagram_price_and_picture() -> None:
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    schedules = gallery()
    assert len(schedules) > 10
    assert set(re.findall(r"images/gallery-(\w+)\.png", text)) == set(schedules)
    for name in schedules.keys() - {"r35", "r25", "r15", "r10"}:
        assert f">>> print({name})\n* prompt" in text and f">>> price({name})\n" in text


def test_pictures_are_small() -> None:
    assert {path.name for path in (DOCS / "images").glob("*.png") if path.stat().st_size > LARGEST} <= {"demo.png"}


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    chosen = request.config.getoption("--pictures")
    if chosen is None:
        pytest.skip("pictures are written where --pictures says so")
    chosen.mkdir(parents=True, exist_ok=True)
    return Path(chosen)


class Demo:
    """The demo's model, clip and prompt."""

    def __init__(self) -> None:
        self.config = demo_config()
        clip = load_clip(bundled_clip(), fps=2.0, max_frames=128)
        self.model = random_model(self.config)
        self.inputs = own_inputs(clip, "What happens in this video?", self.config, frame_tokens=200)
        found = media_of(clip, self.inputs, self.config)
        self.media = Media("Big Buck Bunny", found.frames, found.sounds)

    def trace(self, schedule: Schedule) -> PruneTrace:
        with torch.no_grad(), last_logits_only(self.model), attach(self.model, schedule, record="scores") as trace:
            self.model(**self.inputs, use_cache=True)
        return trace


@pytest.fixture(scope="module")
def demo(folder: Path) -> Demo:
    return Demo()


def write(path: Path, picture: bytes) -> None:
    """256 colours, as small as PNG gets them."""
    small = Image.open(io.BytesIO(picture)).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3)
    small.save(path, optimize=True)
    assert path.stat().st_size < LARGEST


def shown(tab: Any, step: int, token: int | None = None) -> None:
    tab.evaluate(f"showStep({step})")
    if token is not None:
        tab.evaluate(f"select({token})")
    until(tab, "[...IMAGES.values()].every((image) => image.complete)")
    tab.wait_for_timeout(100)


@pytest.mark.parametrize(
    ("name", "size", "theme"),
    [("light", WIDE, "light"), ("dark", WIDE, "dark"), ("phone", (390, 844), "light")],
)
def test_the_page(opened: Open, demo: Demo, folder: Path, name: str, size: tuple[int, int], theme: str) -> None:
    trace = demo.trace(gallery()["r25"])
    tab = opened(page(trace, media=demo.media, config=demo.config, kv_element_bytes=4), size, theme)
    shown(tab, 3, int(trace.stages[2].kept_indices[0][60]))
    assert f"{trace.stages[2].counts['video']} video" in tab.inner_text("#said")
    write(folder / f"inspector-{name}.png", tab.screenshot())


def test_two_traces(opened: Open, demo: Demo, folder: Path) -> None:
    schedules = gallery()
    first, second = (demo.trace(schedules[name]) for name in ("r25", "pruners_only"))
    tab = opened(page(first, other=second, media=demo.media, names=("SEATS 25 %", "pruners only")), (1100, 1400))
    tab.click("#runs button:nth-child(4)")
    shown(tab, 3)
    write(folder / "inspector-comparison.png", tab.screenshot())


def test_the_gallery(opened: Open, demo: Demo, folder: Path) -> None:
    for name, schedule in gallery().items():
        trace = demo.trace(schedule)
        left = [
            (bool(stage.counts["video"]) + bool(stage.counts["audio"]), n) for n, stage in enumerate(trace.stages, 1)
        ]
        step = max((pair for pair in left if pair[0]), default=(0, 0))[1]
        tab = opened(page(trace, media=demo.media), (880, 900))
        shown(tab, step)
        write(folder / f"gallery-{name}.png", tab.locator("#time").screenshot())
