"""The keep ratios of staged drops that meet a retention averaged over all layers (SEATS section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise


def average_retention(
    encoder_ratio: float, drop: float, *, num_layers: int, drop_layers: Sequence[int], late_layer: int | None
) -> float:
    """Retention averaged over all layers if the drops together remove the fraction `drop` of the encoder ratio.

    Segment i runs on N_0 (1 - drop * C_i), N_0 the encoder ratio and C_i the running sum of e^(i-1) / sum_j e^(j-1)
    (SEATS section 3.2); layers without audio and video count as 0.
    """
    lengths, shares = _segments(num_layers, drop_layers, late_layer)
    weighted = sum(n * (1.0 - drop * share) for n, share in zip(lengths, [0.0, *shares], strict=True))
    return encoder_ratio * weighted / num_layers


def solve_keep_ratios(
    retention: float,
    encoder_ratio: float,
    *,
    num_layers: int,
    drop_layers: Sequence[int],
    late_layer: int | None = None,
    digits: int | None = 4,
) -> tuple[float, ...]:
    """Keep ratio of every drop, N_i / N_(i-1), such that the layer average meets `retention` (SEATS section 3.2).

    A target above what the encoder ratio allows gives 1.0 throughout, one below what the drops can reach ends in 0.0.

    Args:
        retention: tokens kept, averaged over all layers, as a share of the encoder's tokens.
        encoder_ratio: share of the encoder's tokens that enter the LLM.
        num_layers: decoder layers.
        drop_layers: 1-based layers whose output is pruned, in any order. Those at or after the layer whose output loses
            all audio and video are left out.
        late_layer: first layer without audio and video; None = never.
        digits: decimals to round to, 4 as in the paper's implementation; None does not round.

    Returns:
        One ratio per effective drop layer, ascending.
    """
    _, shares = _segments(num_layers, drop_layers, late_layer)
    # The average is linear in the total drop: two points of the line give the drop that meets the target.
    most, least = (
        average_retention(encoder_ratio, f, num_layers=num_layers, drop_layers=drop_layers, late_layer=late_layer)
        for f in (0.0, 1.0)
    )
    drop = min(1.0, max(0.0, (most - retention) / (most - least))) if most > least else 0.0
    levels = [1.0, *(1.0 - drop * share for share in shares)]
    ratios = (after / before for before, after in pairwise(levels))
    return tuple(ratios) if digits is None else tuple(round(ratio, digits) for ratio in ratios)


def check_reachable(
    name: str,
    retention: float,
    encoder_ratio: float,
    *,
    num_layers: int,
    drop_layers: Sequence[int],
    late_layer: int | None = None,
) -> None:
    """Raise ValueError, with a name, for a retention that drops after these layers cannot reach."""
    most, least = (
        average_retention(encoder_ratio, f, num_layers=num_layers, drop_layers=drop_layers, late_layer=late_layer)
        for f in (0.0, 1.0)
    )
    if not least - 1e-9 <= retention <= most + 1e-9:
        raise ValueError(
            f"{name}: expected a retention from {least:.4g} to {most:.4g}, what these layers can reach from an encoder "
            f"ratio of {encoder_ratio:.4g}, got {retention}"
        )


def _segments(num_layers: int, drop_layers: Sequence[int], late_layer: int | None) -> tuple[list[int], list[float]]:
    """Layers per segment (K + 1 of them) and the running shares C_1..C_K of the total drop."""
    end = num_layers if late_layer is None else min(late_layer - 1, num_layers)
    drops = [layer for layer in sorted(drop_layers) if layer < end]
    edges = [0, *drops, end]
    growth = [math.exp(i) for i in range(len(drops))]
    shares = [sum(growth[: i + 1]) / sum(growth) for i in range(len(drops))]
    return [b - a for a, b in pairwise(edges)], shares
