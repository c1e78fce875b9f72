"""How numbers and their intervals are printed."""

from __future__ import annotations

import re

from benchmarks.quality.comparisons import Difference
from benchmarks.quality.measures import Measured
from benchmarks.quality.statistics import Interval
from benchmarks.report.numbers import NOTHING

CANNOT, UNPUBLISHED = "cannot", "not published"


def percent(share: float | None, digits: int = 1) -> str:
    return NOTHING if share is None else f"{100 * share:.{digits}f}"


def accuracy(one: Interval) -> str:
    """In percent, with the wider side of its interval."""
    return f"{percent(one.mean)} ±{percent(max(one.high - one.mean, one.mean - one.low))}"


def points(one: Difference) -> str:
    """In points, with the interval; bold where it is sure; how many models agree, and p where it is not sure."""
    mean, low, high = map(signed, (one.interval.mean, one.interval.low, one.interval.high))
    text = f"**{mean}** ({low} to {high})" if one.sure else f"{mean} ({low} to {high}), p {p_value(one.p)}"
    return f"{text}, {one.agreeing}/{len(one.by_model)}" if len(one.by_model) > 1 else text


def signed(share: float) -> str:
    """In points; zero is not negative."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def p_value(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0") if p < 0.9995 else "1"


def executed(one: Measured | None, reason: str, models: int) -> str:
    """Share of media tokens that layers saw; or what a contender that cannot reach a cost needs."""
    if one is None:
        return cannot(reason)
    some = f" ({len(one.by_model)} of {models} models)" if len(one.by_model) < models else ""
    return f"{percent(one.executed)}{some}"


def cannot(reason: str) -> str:
    found = re.search(r"costs (\S+) of the whole prompt (at least|at most|at the nearest)", reason)
    return f"{CANNOT}: {percent(float(found[1]))} {found[2]}" if found else f"{CANNOT}: {reason.partition(':')[0]}"
