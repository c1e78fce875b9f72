"""The checkpoints that are known by name: their sizes are files of this package, each with its source named."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).with_name("configs")

SHORT_NAMES = {"7b": "Qwen/Qwen2.5-Omni-7B", "3b": "Qwen/Qwen2.5-Omni-3B"}

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
"""An owner and a name, one slash between them."""

SUCH_AS = "such as Qwen/Qwen2.5-Omni-7B"


@dataclass(frozen=True)
class Checkpoint:
    """What is known of one checkpoint.

    Attributes:
        id: on Hugging Face, owner and name.
        source: where the sizes were read.
        model_type: by the names of transformers; that of the thinker, where a checkpoint holds more than one.
        sizes: the fields of its config that tell sizes, as in config.json; the others are those of transformers.
    """

    id: str
    source: str
    model_type: str
    sizes: dict[str, Any]

    @property
    def name(self) -> str:
        """Without the owner."""
        return self.id.partition("/")[2]

    def config(self) -> Any:
        """Its config, made anew."""
        from transformers import CONFIG_MAPPING

        return CONFIG_MAPPING[self.model_type](**self.sizes)


@cache
def checkpoints() -> tuple[Checkpoint, ...]:
    """All of them, families together and the smallest first."""
    found = []
    for path in CONFIGS.glob("*.json"):
        read = json.loads(path.read_text(encoding="utf-8"))
        found.append(Checkpoint(read["id"], read["source"], read["model_type"], read["config"]))
    return tuple(sorted(found, key=lambda one: [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", one.name)]))


def named_checkpoint(name: str) -> Checkpoint:
    """As `find_checkpoint`. Raises KeyError: nobody's."""
    found = find_checkpoint(name)
    if found is None:
        raise KeyError(name)
    return found


def find_checkpoint(name: str) -> Checkpoint | None:
    """By id, by name without owner or by short name, in any case; None: nobody's."""
    wanted = SHORT_NAMES.get(name.lower(), name).lower()
    return next((one for one in checkpoints() if wanted in (one.id.lower(), one.name.lower())), None)


def expected_models() -> str:
    """For a message: what a model may be named by, with all names that are known, owners left out."""
    names = ", ".join([*SHORT_NAMES, *(one.name for one in checkpoints())])
    return f"a config.json, a folder with one, a Hugging Face id {SUCH_AS}, or one of {names}"


def check_name(model: str) -> None:
    """Raises ValueError: a name that is neither known, nor on this machine, nor worth asking a network for."""
    if find_checkpoint(model) is None and not may_be_a_model(model):
        raise ValueError(f"model: got {model!r}, expected {expected_models()}")


def may_be_a_model(name: str) -> bool:
    """Something on this machine, or a name that is worth asking a network for."""
    return (name != "" and Path(name).exists()) or (HUB_ID.fullmatch(name) is not None and not name.endswith(".json"))
