"""How much a token changed against the same place of another frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from seats_ops.layout import TokenLayout, partners
from seats_ops.operators.own_work import of_steps
from seats_ops.operators.stored import Stored
from seats_ops.ops.temporal_similarity.api import temporal_similarity


@dataclass(frozen=True)
class TemporalChange(Stored):
    """1 - cosine of a token and the one at the same place `step` frames later; infinite where there is none.

    Attributes:
        step: -1 is the frame before; sound counts as frames of one token.
    """

    inputs: ClassVar[tuple[str, ...]] = ("features", "grid")
    is_scorer: ClassVar[bool] = True
    own_macs = of_steps

    step: int = -1

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        """float32 [T]."""
        partner = partners(layout, self.step).to(features.device, non_blocking=True)
        return 1.0 - temporal_similarity(features, partner, missing=-math.inf, backend=backend)
