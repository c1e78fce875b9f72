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


def known_names() -> str:
    """For a message: every name that `find_checkpoint` knows, owners left out."""
    return ", ".join([*SHORT_NAMES, *(one.name for one in checkpoints())])
