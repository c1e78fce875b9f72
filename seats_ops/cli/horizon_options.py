"""What a user can ask `seats-ops horizon`, and what can be known to be wrong before a model is there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seats_ops.schedule.file import ENDINGS

from .options import Options


@dataclass(frozen=True)
class HorizonOptions:
    """Arguments of the command; `run` has those that it shares with others."""

    run: Options
    clip: tuple[Path, ...]
    questions: tuple[str, ...]
    clips: Path | None
    layers: str | None
    share: float
    answer_tokens: int
    threshold: float
    video: float | None
    audio: float | None
    schedule_out: Path | None
    plot: Path | None
    as_json: bool

    def check(self) -> None:
        """Raises ValueError: options that cannot be, or exclude each other; files that are there, or are not."""
        model = self.run.model
        if model is not None and Path(model).is_file():
            raise ValueError(
                f"CHECKPOINT: expected a folder or a Hugging Face id before the clips, got the file {model}"
            )
        if self.clips is not None and self.clip:
            raise ValueError(f"--clips: expected no clip beside it, got {self.clip[0]}")
        if self.clips is not None and len(self.questions) > 1:
            raise ValueError("--question: expected one with --clips, for lines without a question, got several")
        if len(set(self.questions)) < len(self.questions):
            raise ValueError("--question: expected each once, got one twice")
        for name, ratio in (("--video", self.video), ("--audio", self.audio)):
            if ratio is not None and self.schedule_out is None:
                raise ValueError(f"{name}: expected --schedule-out with it, whose ratio it is")
        for name, path, endings in (
            ("--schedule-out", self.schedule_out, ENDINGS),
            ("--plot", self.plot, (".png",)),
        ):
            if path is None:
                continue
            if path.suffix not in endings:
                raise ValueError(f"{name}: got {str(path)!r}, expected a name that ends in {' or '.join(endings)}")
            if path.exists():
                raise ValueError(f"{name}: got {str(path)!r}, expected a new file (it exists)")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"--threshold: expected an agreement above 0, up to 1, got {self.threshold:g}")
        if not 0 < self.share <= 1:
            raise ValueError(f"--share: expected a share above 0, up to 1, got {self.share:g}")
        self.chosen_layers()

    def chosen_layers(self) -> Sequence[int] | None:
        """Of "0,8-20,27"; None: all. Raises ValueError: a text that is none."""
        if self.layers is None:
            return None
        found: list[int] = []
        for part in self.layers.split(","):
            ends = re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", part)
            if ends is None:
                raise ValueError(f"--layers: expected numbers and ranges, such as 0,8-20,27, got {self.layers!r}")
            first, last = int(ends[1]), int(ends[2] or ends[1])
            found += range(first, last + 1)
            if last < first:
                raise ValueError(f"--layers: expected ranges that ascend, got {part.strip()!r}")
        return found
