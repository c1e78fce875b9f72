"""The layer of a method that prunes inside the LLM once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seats_ops.methods.arguments import chosen_layers


def one_layer(
    config: Any, layers: Sequence[int] | None, published: int, num_published: int, name: str = "layers"
) -> int:
    """The layer given, else a paper's, scaled by depth. Raises TypeError, ValueError: see `chosen_layers`; not one."""
    chosen = chosen_layers(config, layers, (published,), num_published, name)
    if len(chosen) != 1:
        raise ValueError(f"{name}: expected one, got {layers}")
    return chosen[0]
