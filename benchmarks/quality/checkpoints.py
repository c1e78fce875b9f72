"""Trained thinkers as files: weights, what made them, and how to be sure that it is the one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from benchmarks.quality.thinker import Size, new_thinker
from seats_ops.files import write_whole

FOLDER = Path(__file__).parent / "models"
KIND = "AV-recall thinker"


@dataclass(frozen=True)
class Trained:
    """A model and where it comes from.

    Attributes:
        name: of its file, without the ending.
        model: ready to answer.
        size, seed: that it was trained with.
        digest: of its weights.
    """

    name: str
    model: Any
    size: Size
    seed: int
    digest: str


def name_of(size: Size, seed: int) -> str:
    return f"{size}-seed{seed}"


def save(path: Path, model: Any, size: Size, seed: int) -> None:
    """Weights in float32 and the settings, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    said = {"kind": KIND, "size": json.dumps(asdict(size)), "seed": str(seed)}
    write_whole(path, safetensors.torch.save(weights, said))


def load(path: Path) -> Trained:
    """A trained thinker.

    Raises:
        FileNotFoundError: no such file; says how one is made.
        ValueError: a file of something else, or of a thinker of another architecture.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected a trained thinker, made by: python -m benchmarks quality train")
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a file of safetensors, got {error}") from error
    if said.get("kind") != KIND:
        raise ValueError(f"{path}: expected an {KIND}, got {said.get('kind') or 'a file that does not say what it is'}")
    size, seed = Size(**json.loads(said["size"])), int(said["seed"])
    model = new_thinker(size, seed)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if expected != found:
        name = min(name for name in {*expected, *found} if expected.get(name) != found.get(name))
        raise ValueError(f"{path}: expected {name} of shape {expected.get(name)}, got {found.get(name)}")
    model.load_state_dict(weights)
    return Trained(path.stem, model, size, seed, digest_of(weights))


def digest_of(weights: dict[str, torch.Tensor]) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of all weights, by name."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
