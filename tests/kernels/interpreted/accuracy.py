"""How far from exact a float32 result may be: not much further than the reference itself."""

from __future__ import annotations

import torch
from torch import Tensor


def assert_as_accurate(actual: Tensor, reference: Tensor, exact: Tensor) -> None:
    """`actual` errs at most four times as much as `reference` does, or a few units in the last place.

    Args:
        actual: float32, under test.
        reference: float32, computed in another order.
        exact: float64, computed from the same inputs.
    """
    assert actual.dtype == torch.float32 and actual.shape == exact.shape
    if not exact.numel():
        return
    allowed = 4 * (reference.double() - exact).abs().max() + 8 * 2.0**-24 * exact.abs().max()
    error = (actual.double() - exact).abs()
    worst = int(error.argmax())
    assert bool(error[worst] <= allowed), (
        f"token {worst}: off by {float(error[worst]):.3g}, allowed {float(allowed):.3g}"
    )
