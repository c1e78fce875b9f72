"""Inputs that a caller gives to stages, one row for every token of the prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from seats_ops.layout import TokenLayout
from seats_ops.validation import describe

External = Tensor | Callable[[TokenLayout], Tensor]
"""[T, ...], or what makes it of the layout of the prompts."""


def check_external(external: object) -> Mapping[str, External]:
    """`external` of `attach`, {} for None; TypeError for anything but tensors and functions by name."""
    if external is None:
        return {}
    if not isinstance(external, Mapping) or not all(isinstance(name, str) for name in external):
        raise TypeError(f"external: expected tensors or functions by name, got {describe(external)}")
    for name, value in external.items():
        if not isinstance(value, Tensor) and not callable(value):
            raise TypeError(f"external[{name!r}]: expected a tensor or a function of the layout, got {describe(value)}")
    return dict(external)


@torch.no_grad()
def external_inputs(external: Mapping[str, Any], layout: TokenLayout, device: torch.device) -> dict[str, Tensor]:
    """By the full names of inputs, on `device`.

    Args:
        external: see `check_external`.
        layout: of all tokens of the prompts: padding is none of them, text is.
        device: where the first layer lives.

    Raises:
        TypeError: a function that gives no tensor. ValueError: another number of rows than tokens.
    """
    found = {}
    for name, given in external.items():
        value = given if isinstance(given, Tensor) else given(layout)
        expected = f"external[{name!r}]: expected [{len(layout)}, ...], a row for each token of the prompts"
        if not isinstance(value, Tensor):
            raise TypeError(f"{expected}, got {describe(value)}")
        if value.ndim == 0 or len(value) != len(layout):
            raise ValueError(f"{expected}, got {describe(value)}")
        found[f"external:{name}"] = value.detach().to(device)
    return found
