"""Where SEATS is surely worse than random or evenly spaced tokens, and what the numbers say of why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.quality.comparisons import Difference, difference
from benchmarks.quality.formats import percent, points, signed
from benchmarks.quality.groups import AS_PUBLISHED, EVERY, NAIVE, OWN
from benchmarks.quality.knobs import changes_on, knobs_of, short
from benchmarks.quality.measures import Measured, measured
from benchmarks.quality.outcomes import Cost, Results
from benchmarks.quality.statistics import holm
from benchmarks.report.numbers import table

ALIKE = 0.01
"""Needles are there as often: less apart than a point."""


@dataclass(frozen=True)
class Loss:
    """Of SEATS, `own`, to `rival`."""

    own: str
    rival: str
    task: str
    cost: Cost
    difference: Difference


def losses(results: Results, costs: Sequence[Cost]) -> list[Loss]:
    """Holm over everything that is looked at here."""
    looked = list(_looked(results, costs))
    corrected = holm({number: one.difference.p for number, one in enumerate(looked)})
    found = [replace(one, difference=replace(one.difference, p=corrected[i])) for i, one in enumerate(looked)]
    return [one for one in found if one.difference.sure and one.difference.interval.mean < 0]


def _looked(results: Results, costs: Sequence[Cost]) -> Iterator[Loss]:
    for cost in costs:
        for task in EVERY:
            for own in (OWN, AS_PUBLISHED):
                for rival in NAIVE:
                    one = difference(results, (task,), (own, cost), (rival, cost)) if task in results.tasks else None
                    if one is not None:
                        yield Loss(own, rival, task, cost, one)


def why(results: Results, loss: Loss) -> str:
    """Whether it lost the needle, or something else; and which change of SEATS gains most there."""
    own = measured(results, (loss.task,), loss.own, loss.cost)
    rival = measured(results, (loss.task,), loss.rival, loss.cost)
    assert own is not None and rival is not None
    said = [_needles(own, rival)]
    gains = changes_on(results, (loss.task,), knobs_of(results, loss.cost), loss.cost)
    sure = {name: one for name, one in gains.items() if one.sure and one.interval.mean > 0}
    if loss.own == OWN and sure:
        best = max(sure, key=lambda name: sure[name].interval.mean)
        said.append(f"{short(best)} gains {signed(sure[best].interval.mean)}")
    return "; ".join(said)


def _needles(own: Measured, rival: Measured) -> str:
    if own.recall is None or rival.recall is None:
        return (
            "no needle, every token is evidence: tokens kept have "
            f"{percent(own.mass)} % of the full model's attention, against {percent(rival.mass)} %"
        )
    both = f"{percent(own.recall)} % of needles there, against {percent(rival.recall)} %"
    if own.recall < rival.recall - ALIKE:
        return f"the selection: {both}"
    return f"not the needles: {both}"


def lost(results: Results, costs: Sequence[Cost]) -> list[str]:
    """A table of all losses, or a sentence that there are none."""
    found = losses(results, costs)
    looked = f"Asked of {OWN} and {AS_PUBLISHED} against {' and '.join(NAIVE)} on every task at every retention"
    if not found:
        return [f"{looked}: nowhere surely worse."]
    rows = [
        [
            f"{percent(one.cost.retention, 0)} %",
            one.task,
            one.own,
            one.rival,
            points(one.difference),
            why(results, one),
        ]
        for one in found
    ]
    places = dict.fromkeys((one.task, one.cost.retention) for one in found)
    tasks = dict.fromkeys(one.task for one in found)
    said = f"{looked}: surely worse in {len(found)} comparisons, on {', '.join(tasks)} ({len(places)} of task and R)."
    return [said, "", table(["R", "task", "SEATS", "against", "points", "why"], rows)]
