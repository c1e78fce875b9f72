"""Repeated measurements, and which of them cannot be told apart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """Times of one way to do something, or of several that cannot be told apart.

    Attributes:
        seconds: Every measurement.
        shared: Whether those of a neighbour are among them.
    """

    seconds: tuple[float, ...]
    shared: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def told_apart(times: Sequence[Sequence[float]], *, falling: bool = True) -> list[Measured]:
    """One result per way, in the order given: from the one that must take longest to the one that must take least.

    A way whose measurements do not all lie below those of the way before it is not told apart from it: both get the
    measurements of both. So a result is never above the one before it, which could only be noise.

    Args:
        times: Measurements of every way.
        falling: False where the order says nothing: then it is that of the medians, and only overlap counts.
    """
    if not falling:
        order = sorted(range(len(times)), key=lambda way: -statistics.median(times[way]))
        found = dict(zip(order, told_apart([times[way] for way in order]), strict=True))
        return [found[way] for way in range(len(times))]
    groups: list[tuple[list[float], int]] = []
    for seconds in times:
        group, ways = list(seconds), 1
        while groups and max(group) >= min(groups[-1][0]):
            before, more = groups.pop()
            group, ways = before + group, more + ways
        groups.append((group, ways))
    return [Measured(tuple(group), ways > 1) for group, ways in groups for _ in range(ways)]
