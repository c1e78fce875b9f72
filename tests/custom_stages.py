"""A stage of one's own, whose choice is a function of the layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from seats_ops import Modality, TokenLayout


@dataclass(frozen=True)
class Custom:
    """Not a good one: it can be stored, but not read back."""

    choose: Callable[[TokenLayout], Any]

    inputs: ClassVar[tuple[str, ...]] = ()

    def __call__(self, layout: TokenLayout, *, backend: str = "auto") -> Any:
        return self.choose(layout)

    def to_dict(self) -> dict[str, Any]:
        return {}


def every_other(layout: TokenLayout) -> Tensor:
    """Text, and the tokens of even columns."""
    return layout.is_modality(Modality.TEXT) | (layout.position % 2 == 0)


def without(layout: TokenLayout, *tokens: int) -> Tensor:
    """All but these."""
    keep_mask = torch.ones(len(layout), dtype=torch.bool)
    keep_mask[list(tokens)] = False
    return keep_mask
