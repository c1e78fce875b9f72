"""`python -m benchmarks real-features`: a line an item, added when it is done, of one revision."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from benchmarks.results import RESULTS, append, read, refuse_another

REAL = RESULTS / "real_features.jsonl.gz"
RATIOS = (0.05, 0.1, 0.25, 0.5)
CLIPS, SOUNDS = 24, 24
RULES = 2
"""Counts up with every change to what is measured that the rest of a revision does not show."""
VERSIONS = ("torch", "onnxruntime", "jiwer", "opencv-python-headless", "pillow", "av", "rapidocr-onnxruntime")


def real_features(
    smoke: Annotated[bool, typer.Option(help="one clip and one sound at one ratio; needs --output")] = False,
    output: Annotated[
        Path, typer.Option(help="JSON lines, .gz compresses; what is there already is not done again")
    ] = REAL,
) -> None:
    """Selection on real clips and speech without an LLM: what can be read and heard of what is kept."""
    from .measure import measure_clip, measure_sound  # Needs the packages of `make real-features`.

    if smoke and output == REAL:
        raise ValueError("smoke: expected --output of its own, as its ratio is not that of the results")
    torch.set_num_threads(1)
    ratios, clips, sounds = ((0.1,), 1, 1) if smoke else (RATIOS, CLIPS, SOUNDS)
    revision = current_revision(ratios)
    done = done_of(output, revision)
    measures: list[tuple[str, int, Callable[[int, tuple[float, ...]], Any]]] = [
        *(("clip", number, measure_clip) for number in range(clips)),
        *(("sound", number, measure_sound) for number in range(sounds)),
    ]
    for kind, number, measure in measures:
        name = f"{kind} {number}"
        if name in done:
            continue
        append(output, {"name": name, "kind": kind, "revision": revision, "cells": rounded(measure(number, ratios))})
        Console(stderr=True).print(name)


def current_revision(ratios: tuple[float, ...]) -> dict[str, Any]:
    """What results depend on."""
    from .packages import digest

    versions = {name: importlib.metadata.version(name).split("+")[0] for name in VERSIONS}
    return {
        "rules": RULES,
        "settings": settings(),
        "files": digest(),
        "ratios": list(ratios),
        "versions": versions,
    }


def settings() -> str:
    """Digest, 16 hexadecimal digits, of what items are made of, and of who selects with which options."""
    from . import captions, clips, contenders, mobilenet, prompts, reading, sounds, speaker

    found = {
        one.__name__: {name: value for name, value in vars(one).items() if name.isupper() and name[0] != "_"}
        for one in (captions, clips, contenders, mobilenet, prompts, reading, sounds, speaker)
    }
    return hashlib.sha256(json.dumps(found, sort_keys=True, default=sorted).encode()).hexdigest()[:16]


def done_of(path: Path, revision: dict[str, Any]) -> set[str]:
    """Names of the items that are there. Raises ValueError: one is of another revision; they are never mixed."""
    rows = read(path) if path.exists() else []
    for row in rows:
        refuse_another(f"{path}: {row['name']} is", row["revision"], revision)
    return {row["name"] for row in rows}


def rounded(value: Any) -> Any:
    """Every float of nested mappings to four places: more would differ from processor to processor."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return round(value, 4) if isinstance(value, float) else value
