"""The ratio at which a method costs what it should, of those that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from seats_ops.schedule import Schedule

NEAR = 0.02
"""A cost counts as reached if it is within this share of the target: counts are whole tokens."""
STEPS = 20
"""Of halving the ratio: to a millionth, less than a token of any prompt."""


class Found(NamedTuple):
    """A ratio that was tried and taken, its schedule, and the cost as a share of the whole prompt's."""

    cost: float
    ratio: float
    schedule: Schedule


class Unreached(Exception):
    """No ratio costs so.

    Attributes:
        any_taken: the method took some ratio.
    """

    def __init__(self, reason: str, *, any_taken: bool) -> None:
        super().__init__(reason)
        self.any_taken = any_taken


def nearest_cost(
    build: Callable[[float], Schedule], cost_of: Callable[[Schedule], float], target: float, *, known: bool
) -> Found:
    """What is nearest to a cost, by halving: costs grow with ratios.

    Args:
        build: makes the schedule of a ratio; ValueError: it does not take the ratio.
        cost_of: of a schedule; ValueError: this prompt cannot be counted.
        target: the cost.
        known: all that counts go by is known of the prompt, so that one that cannot be counted is no fault of a caller.

    Raises:
        Unreached: no ratio costs within 2 % of the target.
    """
    low, high, refusal = 0.0, 1.0, ""
    taken: list[Found] = []

    def tried(ratio: float) -> bool:
        nonlocal refusal
        try:
            schedule = build(ratio)
        except ValueError as error:
            refusal = str(error)
            return False
        try:
            taken.append(Found(cost_of(schedule), ratio, schedule))
        except ValueError as error:
            if not known:
                raise ValueError(f"lengths: expected shapes, by which stages count, got None; {error}") from error
            refusal = str(error)
            return False
        return True

    for end in (1.0, 0.0):
        tried(end)
    for _ in range(STEPS):
        middle = (low + high) / 2
        # Cells of n tokens leave 1 / n: where a ratio is refused, such a one nearby may not be.
        whole = 1.0 / round(1.0 / middle)
        if tried(middle) or (low < whole < high and tried(whole)):
            cost, at, _ = taken[-1]
            low, high = (at, high) if cost < target else (low, at)
        else:
            # FastV refuses too little, as its first layers run on everything; SEATS what its encoder cannot give.
            low, high = (low, middle) if any(one.ratio < middle for one in taken) else (middle, high)
    if not taken:
        raise Unreached(refusal, any_taken=False)
    nearest = min(taken, key=lambda one: abs(one.cost - target))
    if abs(nearest.cost - target) > NEAR * target:
        costs, of = [one.cost for one in taken], f"costs {nearest.cost:.4g} of the whole prompt"
        how = f"at the nearest, {nearest.ratio:.4g}, not"
        if not min(costs) <= target <= max(costs):
            how = "at least, more than" if target < min(costs) else "at most, less than"
        raise Unreached(f"ratio: {of} {how} {target:.4g}", any_taken=True)
    return nearest
