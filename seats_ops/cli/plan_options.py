"""What a user can ask `seats-ops plan`, and which questions do not go together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CLIP = ("fps", "resolution", "sound", "max_frames", "min_pixels", "max_pixels")
LENGTHS = ("video_tokens", "audio_tokens", "grid_tokens")
BUDGET = ("max_flops", "max_kv", "max_memory", "flops_share", "kv_share")
RATIOS = ("video", "audio")
OF_ENGINE = ("block_size", "kv_cache", "max_model_len", "answer_tokens")
OF_VIDEO = ("video", "video_tokens", "grid_tokens", "fps", "resolution", "max_frames", "min_pixels", "max_pixels")
OF_AUDIO = ("audio", "audio_tokens")
"""What a model without that modality is not asked."""

LONGEST = 1_000_000
"""Seconds: eleven days, beyond which windows are counted for minutes."""


@dataclass(frozen=True)
class Resolution:
    """In pixels. No tuple, which typer would read from two arguments."""

    width: int = 1280
    height: int = 720


@dataclass(frozen=True)
class PlanOptions:
    """Arguments of the command; None stands for a default that depends on the others and on the model."""

    model: str = "7b"
    list_known: bool = False
    video: float | None = None
    audio: float | None = None
    exact_total: bool = False
    schedule_file: Path | None = None
    kv_policy: Literal["uniform", "per-layer"] = "uniform"
    text_tokens: int | None = None
    video_tokens: int | None = None
    audio_tokens: int | None = None
    grid_tokens: int | None = None
    seconds: float | None = None
    fps: float | None = None
    resolution: Resolution | None = None
    sound: bool | None = None
    max_frames: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    max_flops: float | None = None
    max_kv: int | None = None
    max_memory: int | None = None
    flops_share: float | None = None
    kv_share: float | None = None
    engine: Literal["vllm"] | None = None
    block_size: int | None = None
    kv_cache: int | None = None
    max_model_len: int | None = None
    answer_tokens: int | None = None
    plot: Path | None = None
    schedule_json: Path | None = None
    as_json: bool = False

    def given(self, names: tuple[str, ...]) -> list[str]:
        """Which of these were given, as they are typed."""
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]

    @property
    def budget(self) -> dict[str, float]:
        """The limits that were given."""
        return {name: getattr(self, name) for name in BUDGET if getattr(self, name) is not None}

    def check(self) -> None:
        """Raises ValueError: options that exclude each other."""
        of_clip, lengths, limits, ratios, of_engine = map(self.given, (CLIP, LENGTHS, BUDGET, RATIOS, OF_ENGINE))
        if self.seconds is None and of_clip:
            raise ValueError(f"{of_clip[0]}: expected --seconds with it, which say how long the clip is")
        if self.seconds is not None and lengths:
            raise ValueError(f"{lengths[0]}: expected either --seconds, which give the tokens, or token counts")
        of_seats = limits + ratios + ["--exact-total"] * self.exact_total
        if self.schedule_file is not None and of_seats:
            raise ValueError(f"{of_seats[0]}: expected no --schedule with it, which has its ratios already")
        if limits and ratios:
            raise ValueError(f"{ratios[0]}: expected either ratios or a budget, which finds them, got {limits[0]} too")
        if self.engine is None and of_engine:
            raise ValueError(f"{of_engine[0]}: expected --engine with it, whose cache and context it is about")
        if self.engine is not None and limits:
            raise ValueError(f"{limits[0]}: expected no --engine with it, as a budget finds stages after layers")
        for name, path in (("--plot", self.plot), ("--schedule-json", self.schedule_json)):
            if path is not None and path.exists():
                raise ValueError(f"{name}: got {str(path)!r}, expected a new file (it exists)")
        if self.seconds is not None and self.seconds > LONGEST:
            raise ValueError(f"--seconds: got {self.seconds:g}, expected at most {LONGEST:,}")
        if self.plot is not None and self.plot.suffix != ".png":
            raise ValueError(f"--plot: got {str(self.plot)!r}, expected a name that ends in .png")
