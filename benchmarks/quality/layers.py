"""The layers at which stages act in a model, chosen once from its measured horizon, in a file beside its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.quality.checkpoints import Trained
from benchmarks.quality.contenders import Layers
from benchmarks.quality.gates import layers_of
from seats_ops.horizon import Horizon

GATES = "python -m benchmarks quality gates"


def file_of(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".layers.json")


def choose(checkpoint: Path, trained: Trained, horizon: Horizon, threshold: float) -> Layers:
    """Of the horizon, written down with the reasons. Raises ValueError: see `layers_of`."""
    found = horizon.suggest(threshold)
    layers = layers_of(found)
    said = {
        "model": trained.digest,
        "threshold": threshold,
        "late": layers.late,
        "drops": list(layers.drops),
        "drops_are": "those after which relevance helps" if found.drop_layers else "just before the late drop",
        "reasons": list(found.reasons),
    }
    file_of(checkpoint).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return layers


def read(checkpoint: Path, trained: Trained) -> Layers:
    """Raises FileNotFoundError: none were chosen. ValueError: they were for other weights."""
    file = file_of(checkpoint)
    if not file.exists():
        raise FileNotFoundError(f"{file}: expected layers chosen for {checkpoint.name}, made by: {GATES}")
    said: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if said["model"] != trained.digest:
        raise ValueError(
            f"{file}: expected layers chosen for the weights {trained.digest}, got {said['model']}; again: {GATES}"
        )
    return Layers(tuple(said["drops"]), said["late"])
