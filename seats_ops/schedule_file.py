"""Schedules as files, JSON or YAML by the end of their name; errors point at the entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seats_ops.files import write_whole

ENDINGS = (".json", ".yaml", ".yml")


def read(path: Path) -> Mapping[str, Any]:
    """What a file says, not yet looked at.

    Raises:
        ValueError: the name has another ending, the text is no JSON or YAML (with the line), or no mapping.
        OSError: it cannot be read. ImportError: YAML without pyyaml.
    """
    text, is_json = path.read_text(encoding="utf-8"), _is_json(path)
    try:
        found = json.loads(text) if is_json else _yaml().safe_load(text)
    except Exception as error:
        if isinstance(error, ImportError):
            raise
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: expected {'JSON' if is_json else 'YAML'}, got a text that is none: {reason}"
        ) from error
    if not isinstance(found, Mapping):
        raise ValueError(f"{path}: expected a mapping with before_llm and after_layer, got {type(found).__name__}")
    return found


def write(path: Path, content: Mapping[str, Any]) -> None:
    """The whole file or none; raises as `read`."""
    plain, is_json = dict(content), _is_json(path)
    write_whole(path, json.dumps(plain, indent=1) + "\n" if is_json else _yaml().safe_dump(plain, sort_keys=False))


def _is_json(path: Path) -> bool:
    if path.suffix not in ENDINGS:
        raise ValueError(f"path: expected a name that ends in {', '.join(ENDINGS)}, got {path.name}")
    return path.suffix == ".json"


def _yaml() -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ImportError("a schedule in YAML takes the package pyyaml: pip install pyyaml, or use .json") from error
    return yaml
