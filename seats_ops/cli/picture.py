"""One figure: which patches of the frames and which moments of the sound survive every stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

INK, MUTED, RULE = "#1f2933", "#66727f", "#d5dbe1"
KEPT = ("#8a97a5", "#2f6db5", "#1b8a6b", "#c98a12", "#b8452f", "#7b4ea3", "#4a7a8c")
"""One colour per row; they repeat where a schedule has more stages."""

FADED = 0.16
"""What is left of a dropped patch's contrast: enough to recognise the scene, too little to look kept."""

MAX_COLUMNS, MAX_IMAGE_HEIGHT = 6, 1.9
PICTURE_WIDTH = 224
"""Pixels per frame in the figure; a video token is then some seven pixels wide."""


@dataclass(frozen=True)
class Row:
    """What is left after one stage.

    Attributes:
        title: The stage.
        detail: Where it acts.
        video: bool `[grids, height, width]`, in merged patches, one per video token.
        audio: bool `[tokens]`, in order of time.
    """

    title: str
    detail: str
    video: np.ndarray
    audio: np.ndarray


def draw(
    path: Path,
    rows: list[Row],
    frames: np.ndarray,
    mel: np.ndarray | None,
    *,
    seconds: float,
    window_seconds: float,
    title: str,
    subtitle: str,
    notes: list[str],
) -> None:
    """Write a PNG with one row of frames per stage above the spectrogram and one strip of audio tokens per stage.

    Args:
        path: Of the PNG.
        rows: From all tokens to the last stage that keeps any.
        frames: uint8 `[grids, height, width, 3]`, the first frame of every temporal patch.
        mel: float `[mel bins, frames]`, log-mel features of 10 ms each; None for a silent video.
        seconds: Length of the video; the sound may last longer.
        window_seconds: Length of the windows that share a budget, marked under the spectrogram.
        title: Headline.
        subtitle: What was saved, a line under it.
        notes: Small print, one line each.
    """
    grids = len(frames)
    label, right, gap = 1.75, 0.12, 0.05
    aspect = frames.shape[1] / frames.shape[2]
    # Upright frames stand closer together, so that all rows fit on a screen.
    widest = MAX_IMAGE_HEIGHT / aspect + gap if aspect > 1 else 9.4
    columns = max(MAX_COLUMNS, int(9.4 // widest))
    shown = np.unique(np.linspace(0, grids - 1, min(grids, columns)).round().astype(int))
    thumbnails = [_thumbnail(frames[grid]) for grid in shown]
    cell = min(9.4 / len(shown), widest)
    image_height = (cell - gap) * aspect
    top, bottom = 1.06, 0.16 + 0.17 * len(notes)
    sound_height = 0.0 if mel is None else 1.0 + 0.17 * len(rows) + 0.60
    width = label + 9.4 + right
    height = top + len(rows) * (image_height + gap) + sound_height + bottom
    figure = Figure(figsize=(width, height), dpi=120, facecolor="white")
    figure.text(0.12 / width, 1 - 0.16 / height, title, fontsize=13, weight="bold", color=INK, va="top")
    figure.text(0.12 / width, 1 - 0.44 / height, subtitle, fontsize=9.5, color=INK, va="top")

    def place(left: float, down: float, w: float, h: float) -> Axes:
        """Axes by distance in inches from the left and the top."""
        return figure.add_axes((left / width, 1 - (down + h) / height, w / width, h / height))

    for column, grid in enumerate(shown):
        x = label + (column + 0.5) * cell - gap / 2
        text = f"{grid * seconds / grids:.1f}–{(grid + 1) * seconds / grids:.1f} s"
        figure.text(x / width, 1 - (top - 0.06) / height, text, fontsize=8, color=MUTED, ha="center", va="bottom")
    down = top
    for number, row in enumerate(rows):
        _label(figure, row, number, down / height, image_height / height, width, rows[0])
        for column, (grid, thumbnail) in enumerate(zip(shown, thumbnails, strict=True)):
            axes = place(label + column * cell, down, cell - gap, image_height)
            axes.imshow(_faded(thumbnail, row.video[grid]), interpolation="nearest", aspect="auto")
            axes.set_axis_off()
        down += image_height + gap
    if mel is not None:
        down += 0.16
        longest = max(seconds, mel.shape[1] / 100)
        _sound(place(label, down, 9.4 - gap, 1.0), mel, longest)
        strips = place(label, down + 1.04, 9.4 - gap, 0.17 * len(rows))
        _strips(strips, rows, mel.shape[1] / 100, longest, window_seconds)
    for number, note in enumerate(notes):
        figure.text(0.12 / width, (0.12 + 0.17 * (len(notes) - 1 - number)) / height, note, fontsize=7.5, color=MUTED)
    figure.savefig(path)


def _label(figure: Figure, row: Row, number: int, down: float, height: float, width: float, first: Row) -> None:
    middle, x = 1 - down - height / 2, 0.12 / width
    lines = [f"{row.video.sum():,} video" + _share(row.video, first.video)]
    if first.audio.size:
        lines.append(f"{row.audio.sum():,} audio" + _share(row.audio, first.audio))
    figure.text(x, middle + 0.30 * height, row.title, fontsize=9.5, weight="bold", color=KEPT[number % len(KEPT)])
    figure.text(x, middle + 0.10 * height, row.detail, fontsize=8, color=MUTED)
    figure.text(x, middle + 0.02 * height, "\n".join(lines), fontsize=8, color=INK, va="top", linespacing=1.35)


def _share(kept: np.ndarray, all_tokens: np.ndarray) -> str:
    return "" if kept.all() else f"  ({kept.sum() / all_tokens.size:.1%})"


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """uint8 `[h, w, 3]`, scaled to `PICTURE_WIDTH` pixels."""
    height = max(1, round(frame.shape[0] * PICTURE_WIDTH / frame.shape[1]))
    return np.asarray(Image.fromarray(frame).resize((PICTURE_WIDTH, height), Image.Resampling.LANCZOS))


def _faded(frame: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The frame with its dropped patches grey and nearly white."""
    lines = np.arange(frame.shape[0]) * kept.shape[0] // frame.shape[0]
    columns = np.arange(frame.shape[1]) * kept.shape[1] // frame.shape[1]
    grey = frame.mean(axis=2, keepdims=True) * FADED + 255 * (1 - FADED)
    return np.where(kept[lines][:, columns, None], frame, grey).astype(np.uint8)


def _sound(axes: Axes, mel: np.ndarray, seconds: float) -> None:
    axes.imshow(mel, origin="lower", aspect="auto", cmap="magma", extent=(0, mel.shape[1] / 100, 0, len(mel)))
    axes.set_xlim(0, seconds)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_ylabel("sound\n(log-mel)", fontsize=8, color=MUTED, rotation=0, ha="right", va="center")


def _strips(axes: Axes, rows: list[Row], sound_seconds: float, seconds: float, window_seconds: float) -> None:
    """One strip per stage; a coloured cell is an audio token that is still there."""
    tokens = rows[0].audio.size
    starts = np.arange(tokens) * sound_seconds / tokens
    for number, row in enumerate(rows):
        spans = [(start, 0.8 * sound_seconds / tokens) for start in starts[row.audio]]
        axes.broken_barh(spans, (number + 0.12, 0.76), facecolors=KEPT[number % len(KEPT)], linewidth=0)
    for edge in np.arange(window_seconds, seconds, window_seconds):
        axes.axvline(edge, color=INK, linewidth=0.7, linestyle=(0, (2, 2)))
    axes.set_xlim(0, seconds)
    axes.set_ylim(len(rows), 0)
    axes.set_yticks(np.arange(len(rows)) + 0.5, [row.title for row in rows], fontsize=7.5)
    for number, tick in enumerate(axes.get_yticklabels()):
        tick.set_color(KEPT[number % len(KEPT)])
    axes.tick_params(length=0, labelsize=7.5, colors=MUTED, which="both")
    axes.spines[:].set_color(RULE)
    axes.set_xlabel("seconds; dotted lines: windows that share one token budget", fontsize=8, color=MUTED)
