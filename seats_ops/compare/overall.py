"""Means over prompts with bootstrap intervals, and which prompts suffer most."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from seats_ops.compare.records import PromptRecord, RunRecord

LEAST = 5
"""Fewer prompts say nothing about how much they vary: there is no interval then."""

RESAMPLES = 9999
CONFIDENCE = 0.95


def _share(value: Callable[[RunRecord], float]) -> Callable[[RunRecord, RunRecord], float]:
    return lambda full, pruned: value(pruned) / value(full)


def _agreed(value: str) -> Callable[[RunRecord, RunRecord], float]:
    return lambda full, pruned: float(getattr(pruned.agreement, value))


METRICS: dict[str, Callable[[RunRecord, RunRecord], float]] = {
    "token_agreement": _agreed("tokens"),
    "first_token_agreement": _agreed("first_token"),
    "top1_agreement": _agreed("top1"),
    "kl": _agreed("mean_kl"),
    "tokens": _share(lambda run: run.mean_tokens),
    "flops": _share(lambda run: run.flops),
    "kv_bytes": _share(lambda run: run.kv_bytes),
    "prefill_seconds": _share(lambda run: statistics.median(run.prefill_seconds)),
    "first_token_seconds": _share(lambda run: statistics.median(run.first_token_seconds)),
    "peak_bytes": _share(lambda run: run.peak_bytes),
}
"""Name -> one number of a prompt from its run with all tokens and its pruned one: four agreements, then shares of what
the run with all tokens takes."""


@dataclass(frozen=True)
class Mean:
    """Of one number per prompt.

    Attributes:
        value: the mean.
        low, high: its 95 % interval, by resampling the prompts; None where there are fewer than `LEAST`.
        prompts: how many.

    Example:
        >>> from seats_ops.compare import Mean
        >>> Mean(0.25, None, None, prompts=1).value
        0.25
    """

    value: float
    low: float | None
    high: float | None
    prompts: int


def overall(records: Sequence[PromptRecord], schedules: Sequence[str]) -> dict[str, dict[str, Mean]]:
    """Schedule -> metric -> mean over the prompts. Each number is of the same prompt pruned and not: the pairs stay."""
    return {name: {metric: mean_of(of_prompts(records, name, metric)) for metric in METRICS} for name in schedules}


def differences(records: Sequence[PromptRecord], schedules: Sequence[str]) -> dict[str, dict[str, Mean]]:
    """Of every further schedule and the first, on the same prompts: schedule -> metric -> mean of the difference."""
    found: dict[str, dict[str, Mean]] = {}
    for name in schedules[1:]:
        found[name] = {}
        for metric in METRICS:
            pairs = zip(of_prompts(records, name, metric), of_prompts(records, schedules[0], metric), strict=True)
            found[name][metric] = mean_of([mine - its for mine, its in pairs])
    return found


def of_prompts(records: Sequence[PromptRecord], schedule: str, metric: str) -> list[float]:
    """One number per prompt, in their order.

    Args:
        records: prompts that were run.
        schedule: name of one of them.
        metric: name of one of `METRICS`.

    Example:
        >>> from seats_ops import ModalityDropper, Schedule
        >>> from seats_ops.compare import Prompt, compare, of_prompts
        >>> late = Schedule(after_layer={20: ModalityDropper()})
        >>> result = compare(model, {"clip": Prompt(inputs)}, {"late": late}, max_new_tokens=1, repeats=1)
        >>> len(of_prompts(result.records, "late", "flops"))
        1
    """
    numbers = []
    for record in records:
        runs = {run.name: run for run in record.runs}
        numbers.append(METRICS[metric](record.runs[0], runs[schedule]))
    return numbers


def worst_first(records: Sequence[PromptRecord]) -> list[PromptRecord]:
    """By the mean KL of their worst schedule: it tells prompts apart whose answers are equal."""
    return sorted(records, key=lambda record: -max(run.agreement.mean_kl for run in record.runs if run.agreement))


def mean_of(values: Sequence[float], confidence: float = CONFIDENCE) -> Mean:
    """With a percentile bootstrap interval; the same values give the same interval."""
    mean = statistics.fmean(values)
    if len(values) < LEAST:
        return Mean(mean, None, None, len(values))
    if min(values) == max(values):
        return Mean(mean, mean, mean, len(values))
    drawn = bootstrap(
        (np.asarray(values),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    interval = drawn.confidence_interval
    return Mean(mean, float(interval.low), float(interval.high), len(values))
