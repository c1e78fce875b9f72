"""What a user can choose about a run of a model on clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Arguments of `seats-ops demo` and `compare`; None: a default that depends on whether there is a checkpoint."""

    out: Path
    question: str
    model: str | None = None
    video: Path | None = None
    schedules: tuple[Path, ...] = ()
    methods: tuple[str, ...] = ()
    fps: float = 2.0
    max_frames: int = 128
    frame_tokens: int | None = None
    repeats: int = 3
    max_new_tokens: int | None = None
    kv_policy: str = "uniform"
    backend: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0

    @property
    def answer_length(self) -> int:
        """Tokens to generate: few of random weights, which mean nothing."""
        return self.max_new_tokens or (8 if self.model is None else 64)
