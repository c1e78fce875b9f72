"""A user's own file: any name, any orientation, any clock; what is broken is said."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from seats_ops.cli.clip import load_clip

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], np.uint8)


@pytest.fixture(scope="module")
def corners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four frames, 96 x 48, whose four corners have the four COLOURS, row by row."""
    path = tmp_path_factory.mktemp("corners") / "clip.mp4"
    picture = COLOURS.reshape(2, 2, 3).repeat(24, axis=0).repeat(48, axis=1)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=2)
        video.width, video.height, video.pix_fmt = 96, 48, "yuv420p"
        for _ in range(4):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
    return path


def nearest_colours(frame: np.ndarray) -> list[int]:
    """Which colours the corners have, row by row."""
    height, width, _ = frame.shape
    places = [(y * height // 4, x * width // 4) for y in (1, 3) for x in (1, 3)]
    distances = [np.abs(COLOURS.astype(int) - frame[place].astype(int)).sum(1) for place in places]
    return [int(distance.argmin()) for distance in distances]


# The matrix (a, b, c, d) puts the point (x, y) at (a x + c y, b x + d y), y downwards.
@pytest.mark.parametrize(
    ("matrix", "size", "expected"),
    [
        ((1, 0, 0, 1), (48, 96), [0, 1, 2, 3]),
        ((0, 1, -1, 0), (96, 48), [2, 0, 3, 1]),
        ((-1, 0, 0, -1), (48, 96), [3, 2, 1, 0]),
        ((0, -1, 1, 0), (96, 48), [1, 3, 0, 2]),
        ((-1, 0, 0, 1), (48, 96), [1, 0, 3, 2]),
        ((1, 0, 0, -1), (48, 96), [2, 3, 0, 1]),
        ((0, 1, 1, 0), (96, 48), [0, 2, 1, 3]),
        ((0, -1, -1, 0), (96, 48), [3, 1, 2, 0]),
    ],
    ids=["as stored", "right", "upside down", "left", "mirrored", "flipped", "transposed", "transposed back"],
)
def test_frames_stand_as_a_player_shows_them(
    tmp_path: Path, corners: Path, matrix: tuple[int, ...], size: tuple[int, int], expected: list[int]
) -> None:
    data = bytearray(corners.read_bytes())
    # Version 0 of a track header: its matrix lies 48 bytes into the box.
    start = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    frame = load_clip(path).frames[0]
    assert frame.shape == (*size, 3)
    assert nearest_colours(frame) == expected


NAMES = (
    *("12:30 meeting.mp4", "lecture:1.mp4", "clip %03d.mp4", "naïve 视频.mp4", " a b.mp4", "-dash.mp4", "*[b]?.mp4"),
    *("pipe:0", "http:clip.mp4", "concat:clip.mp4|clip.mp4", "file:other.mp4", "data:video", "two\nlines", "'q\".mp4"),
)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_that_of_a_file(tmp_path: Path, corners: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(corners, tmp_path / name)
    assert load_clip(name).name == name
    assert load_clip(tmp_path / name).frames.shape == (4, 48, 96, 3)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nclip.mp4\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile clip.mp4\n",
        "",
    ],
    ids=["playlist", "list of files", "empty"],
)
def test_a_file_opens_no_other(tmp_path: Path, corners: Path, text: str) -> None:
    shutil.copy(corners, tmp_path / "clip.mp4")
    (tmp_path / "list.m3u8").write_text(text)
    with pytest.raises(ValueError, match=r"list\.m3u8 is damaged or no video"):
        load_clip(tmp_path / "list.m3u8")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def overwritten(data: bytes) -> bytes:
    third = len(data) // 3
    return data[:third] + bytes(2 * third)


@pytest.mark.parametrize("fault", [cut, overwritten])
@pytest.mark.parametrize("flags", ["", "+faststart"], ids=["index last", "index first"])
def test_a_damaged_file_is_refused(tmp_path: Path, fault: Callable[[bytes], bytes], flags: str) -> None:
    noise = np.random.default_rng(0)
    path = tmp_path / "holiday.mp4"
    with av.open(str(path), "w", options={"movflags": flags} if flags else {}) as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for _ in range(40):
            picture = noise.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
    path.write_bytes(fault(path.read_bytes()))
    with pytest.raises(ValueError, match=r"holiday\.mp4 is (damaged|cut off)"):
        load_clip(path)


def test_what_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    song, still = tmp_path / "song.m4a", tmp_path / "still.png"
    with av.open(str(song), "w") as container:
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 16_000
        container.mux(sound.encode(samples))
        container.mux(sound.encode())
    Image.new("RGB", (64, 48)).save(still)
    with pytest.raises(ValueError, match=r"song\.m4a has no video stream"):
        load_clip(song)
    with pytest.raises(ValueError, match=r"got 1 frame\(s\), expected at least 2"):
        load_clip(still)
    with pytest.raises(FileNotFoundError, match="No such file"):
        load_clip("http://localhost/clip.mp4")
    with pytest.raises(IsADirectoryError):
        load_clip(tmp_path)


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(2, 1), (24, 96)), (Fraction(1, 2), (48, 48))])
def test_pixels_become_square(tmp_path: Path, aspect: Fraction, size: tuple[int, int]) -> None:
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=2)
        video.width, video.height, video.pix_fmt = 96, 48, "yuv420p"
        video.codec_context.sample_aspect_ratio = aspect
        for _ in range(4):
            picture = np.zeros((48, 96, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
    assert load_clip(path).frames.shape[1:3] == size
