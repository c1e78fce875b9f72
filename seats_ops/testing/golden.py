"""Golden numbers: a folder of safetensors files and the `manifest.json` that describes every tensor in them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class GoldenCase:
    """One recorded call.

    Attributes:
        name: prefix of the case's tensors in `file`.
        kind: what was recorded, e.g. "diversity".
        params: sizes, ratios and settings.
        entry: the whole manifest entry, margins included.
        file: the safetensors file.
    """

    name: str
    kind: str
    params: dict[str, Any] = field(repr=False)
    entry: dict[str, Any] = field(repr=False)
    file: Path = field(repr=False)

    def tensors(self) -> dict[str, Tensor]:
        """The case's tensors by their name without the case prefix."""
        from safetensors import safe_open

        prefix = f"{self.name}."
        with safe_open(self.file, framework="pt") as stored:
            names = [key for key in stored.keys() if key.startswith(prefix)]  # noqa: SIM118 - the file is no mapping
            return {name.removeprefix(prefix): stored.get_tensor(name) for name in names}


def golden_cases(folder: str | Path, kind: str) -> list[GoldenCase]:
    """All cases of one kind.

    Raises:
        ValueError: the manifest has no such kind, so a test over the result would silently test nothing.
    """
    entries = json.loads((Path(folder) / "manifest.json").read_text())["cases"]
    cases = [
        GoldenCase(e["name"], e["kind"], e["params"], e, Path(folder) / e["file"]) for e in entries if e["kind"] == kind
    ]
    if not cases:
        raise ValueError(f"kind: expected one of {sorted({e['kind'] for e in entries})}, got {kind!r}")
    return cases
