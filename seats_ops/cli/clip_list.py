"""The clips and questions of a comparison: one from the command line, or a file of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIELDS = ("video", "question", "name")


@dataclass(frozen=True)
class ClipQuestion:
    """One question about one clip.

    Attributes:
        name: for tables and file names; unique in a list.
        video: path of the clip.
        question: what to ask.
        line: where it stands in a file, from 1; 0 for one that does not come from a file.
    """

    name: str
    video: Path
    question: str
    line: int = 0

    @property
    def identity(self) -> dict[str, Any]:
        """What it was, as far as one can tell without reading the clip."""
        found = self.video.stat() if self.video.is_file() else None
        clip = [self.video.name] if found is None else [self.video.name, found.st_size, found.st_mtime_ns]
        return {"clip": clip, "question": self.question}


def read_clips(path: Path, question: str) -> list[ClipQuestion]:
    """JSON lines `{"video": "a.mp4", "question": "What happens?", "name": "a"}`; relative paths are the file's.

    Args:
        path: of the file.
        question: for lines without one. A line without a name has that of its clip, and its number if others share it.

    Raises:
        ValueError: a line that is no such object, naming line and field; no lines; one name twice. OSError.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"--clips: expected text, got {path} ({error})") from error
    found = [_line(path, number, line, question) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ValueError(f"--clips: expected a JSON object per line, got no lines in {path}")
    videos = [clip.name for clip in found]
    unique: dict[str, ClipQuestion] = {}
    for clip in found:
        shared = videos.count(clip.name) > 1 and clip.name == clip.video.stem
        named = f"{clip.name} {clip.line}" if shared else clip.name
        if named in unique:
            raise ValueError(
                f"{path}, lines {unique[named].line} and {clip.line}: name: expected one of its own, got {named!r}"
            )
        unique[named] = ClipQuestion(named, clip.video, clip.question, clip.line)
    return list(unique.values())


def _line(path: Path, number: int, line: str, question: str) -> ClipQuestion:
    where = f"{path}, line {number}"
    try:
        data = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: expected a JSON object, got {line[:60]!r} ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"{where}: expected a JSON object, got {line[:60]!r}")
    unknown = sorted(data.keys() - set(FIELDS))
    if unknown:
        raise ValueError(f"{where}: expected fields among {', '.join(FIELDS)}, got {', '.join(unknown)}")
    for name in FIELDS:
        value = data.get(name, question if name == "question" else None)
        missing = value is None and name == "video"
        if missing or (value is not None and not (isinstance(value, str) and value.strip())):
            raise ValueError(f"{where}: {name}: expected text, got {'nothing' if name not in data else repr(value)}")
    video = path.parent / data["video"]
    return ClipQuestion(data.get("name") or video.stem, video, data.get("question") or question, number)
