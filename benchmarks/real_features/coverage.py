"""How well kept tokens stand for all of them, by cosine of their features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Coverage(NamedTuple):
    """Of float [N, D] and a bool [N].

    Attributes:
        radius: largest distance, 1 - cosine, of a token to the nearest kept one (k-centre).
        facility: mean cosine of a token to the nearest kept one (facility location, divided by N).
    """

    radius: float
    facility: float


def coverage(features: Tensor, keep_mask: Tensor) -> Coverage:
    """Raises ValueError: nothing is kept, to which no token has a distance."""
    if not bool(keep_mask.any()):
        raise ValueError("keep_mask: expected a token that is kept, got none")
    unit = torch.nn.functional.normalize(features.float(), dim=-1)
    nearest = (unit @ unit[keep_mask].T).amax(-1)
    return Coverage(float(1 - nearest.min()), float(nearest.mean()))
