"""Schedules as files, JSON or YAML by the end of their name; errors point at the entry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    is_json, content = _is_json(path), path.read_bytes()
    try:
        text = content.decode("utf-8")
        found = json.loads(text, object_pairs_hook=_once) if is_json else _yaml_once(text)
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


def _once(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """Raises ValueError: a key that is given twice, of which JSON and YAML keep the last without a word."""
    keys = [key for key, _ in pairs]
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is given twice")
    return dict(pairs)


def _yaml_once(text: str) -> Any:
    yaml = _yaml()

    class Loader(yaml.SafeLoader):  # type: ignore[name-defined]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            _once([(self.construct_object(key, deep=True), None) for key, _ in node.value])
            return dict(super().construct_mapping(node, deep))

    return yaml.load(text, Loader)


def _yaml() -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ImportError("a schedule in YAML takes the package pyyaml: pip install pyyaml, or use .json") from error
    return yaml
